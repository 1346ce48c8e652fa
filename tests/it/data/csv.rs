//! CSV files as people have them: values, notes, and the line and column of every refusal.

use super::*;

fn csv(label: Option<Column>, has_header: bool, range: Option<(f64, f64)>) -> CsvOptions {
    let mut options = CsvOptions::default();
    (options.label_column, options.has_header, options.range) = (label, has_header, range);
    options
}

#[test]
fn csv_reads_plain_and_gzipped_with_and_without_header() {
    let dir = folder();
    let text = "a, b ,class\r\n1,-2.5e-3,4\n\n\"3\", .5 ,-1\n";
    for path in [put(&dir, "plain.csv.gz", text), put(&dir, "gzipped.csv", gzip(text))] {
        for column in [Column::Name("class".into()), Column::Index(2)] {
            let data = read_csv(&path, &csv(Some(column), true, Some((-1.0, 3.0)))).unwrap();
            assert_eq!((data.x.size(), data.x.kind(), data.shape.clone()), (vec![2, 2], Kind::Double, vec![2]));
            assert_eq!(values(&data.x), [1.0, -2.5e-3, 3.0, 0.5]);
            assert_eq!((data.labels, data.range), (Some(vec![4, -1]), Some((-1.0, 3.0))));
        }
    }
    let data = read_csv(put(&dir, "bare", "1,2,3\n4,5,6"), &csv(Some(Column::Index(0)), false, None)).unwrap();
    assert_eq!((values(&data.x), data.labels), (vec![2.0, 3.0, 5.0, 6.0], Some(vec![1, 4])));
    let data = read_csv(put(&dir, "bom", "\u{feff}1,2\n"), &CsvOptions::default()).unwrap();
    assert_eq!((values(&data.x), data.labels), (vec![1.0, 2.0], None));
}

#[test]
fn csv_says_where_a_bad_file_goes_wrong_plain_and_gzipped() {
    let name = |n: &str| Some(Column::Name(n.into()));
    let plain = || csv(None, false, None);
    let cases: Vec<(&str, &[u8], CsvOptions, &str, &str)> = vec![
        ("empty", b"", plain(), "line 1", "a row of numbers, the file is empty"),
        ("blank", b"\n \n", plain(), "line 1", "a row of numbers, the file is empty"),
        ("header", b"a,b\n", csv(None, true, None), "line 2", "a row of numbers below the header, the file ends"),
        ("text", b"1,2\n3,x\n", plain(), "line 2, column 2", "a number, found \"x\""),
        (
            "gap",
            b"1,2\n\n,3\n",
            plain(),
            "line 3, column 1",
            "a number, found \"\" (a missing value: option `missing` drops the row or takes the column's mean)",
        ),
        (
            "nan",
            b"1,NaN\n",
            plain(),
            "line 1, column 2",
            "a number, found \"NaN\" (a missing value: option `missing` drops the row or takes the column's mean)",
        ),
        ("inf", b"1,2\n-inf,2\n", plain(), "line 2, column 1", "a finite number, found -inf"),
        ("huge", b"1e999,2\n", plain(), "line 1, column 1", "a finite number, found inf"),
        (
            "range",
            b"1,2\n3,17\n",
            csv(None, false, Some((0.0, 16.0))),
            "line 2, column 2",
            "a number in [0, 16], found 17",
        ),
        ("narrow", b"1,2\n3\n", plain(), "line 2", "2 columns, found 1"),
        ("wide", b"a,b\n1,2,3\n", csv(None, true, None), "line 2", "2 columns, found 3"),
        (
            "label",
            b"1,2.5\n",
            csv(Some(Column::Index(1)), false, None),
            "line 1, column 2",
            "an integer label or text, found \"2.5\"",
        ),
        (
            "index",
            b"1,2\n",
            csv(Some(Column::Index(2)), false, None),
            "line 1",
            "a column 3 for the labels, found 2 columns",
        ),
        ("name", b"a,b\n1,2\n", csv(name("c"), true, None), "line 1", "a header with a column \"c\" for the labels"),
        (
            "nohead",
            b"a,b\n1,2\n",
            csv(name("a"), false, None),
            "line 1",
            "a header with a column \"a\" for the labels, `has_header` is not set",
        ),
        ("only", b"a\n1\n", csv(name("a"), true, None), "line 1", "a column besides that of the labels"),
        ("binary", b"1,\xff\xfe\n", plain(), "line 1, column 2", "a number, found bytes that are not UTF-8"),
        (
            "essay",
            &[b'z'; 5000],
            plain(),
            "line 1, column 1",
            "a number (where the first line names the columns, set `has_header`), found \"zzzzzzzzzzzzzzzzzzzzzzzz\"…",
        ),
    ];
    let dir = folder();
    for (name, text, options, place, expected) in cases {
        let path = put(&dir, name, text);
        fails(read_csv(&path, &options), &path, place, expected);
        let path = put(&dir, &format!("{name}.gz"), gzip(text));
        fails(read_csv(&path, &options), &path, place, expected);
    }
    let odd = csv(None, false, Some((2.0, 1.0)));
    let e = message(read_csv(put(&dir, "odd", "1\n"), &odd));
    assert_eq!(e, "range = [2, 1]: expected finite ends, the first below the second");
}

#[test]
fn csv_notices_every_truncation_of_a_gzip_stream() {
    let dir = folder();
    let whole = gzip("1,2\n3,4\n5,6\n");
    for n in 2..whole.len() {
        let path = put(&dir, "cut.csv.gz", &whole[..n]);
        fails_like(read_csv(&path, &CsvOptions::default()), &path, "line ", "a whole gzip stream");
    }
}

/// The numbers, labels, classes and notes of this text.
fn read(text: impl AsRef<[u8]>, options: &CsvOptions) -> Dataset {
    read_csv(put(&folder(), "table.csv", text), options).unwrap_or_else(|e| panic!("{e}"))
}

/// Where and why this text is refused.
fn refused(text: impl AsRef<[u8]>, options: &CsvOptions) -> String {
    let dir = folder();
    let path = put(&dir, "table.csv", text);
    let e = read_csv(&path, options).expect_err("a refusal");
    assert!(matches!(e, Error::Data { .. }), "{e:?}");
    e.to_string().strip_prefix(&format!("{}: ", path.display())).expect("the file first").to_string()
}

fn plain() -> CsvOptions {
    CsvOptions::default()
}

const HELPS: &str = "(a missing value: option `missing` drops the row or takes the column's mean)";

#[test]
fn csv_senses_the_separator_and_decimal_commas() {
    let numbers = [1.5, -2.0, 0.25, 3e4];
    for text in [
        "1.5,-2\n.25,3e4\n",
        "1.5, -2\n.25,\t3e4\n",
        "1.5;-2\n.25;3e4\n",
        "1.5\t-2\n.25\t3e4\n",
        "1.5|-2\n.25|3e4\n",
        " 1.5   -2\n\t.25 3e4 \n",
        "1,5;-2\n,25;3e4\n",
    ] {
        assert_eq!(values(&read(text, &plain()).x), numbers, "{text:?}");
    }
    let german = read("a;b\n1,5;-2\n,25;3e4\n", &plain().header());
    assert_eq!(values(&german.x), numbers);
    assert_eq!(german.notes, ["read as columns separated by semicolons, with decimal commas"]);
    let tabs = plain().decimal_comma(true);
    assert_eq!(values(&read("1,5\t-2\n0,25\t3e4\n", &tabs).x), numbers);
    assert_eq!(values(&read("\"1,5\",-2\n\"0,25\",3e4\n", &tabs).x), numbers);
    let forced = plain().separator(Separator::Semicolon);
    assert_eq!(values(&read("7\n8\n", &forced).x), [7.0, 8.0]);
}

#[test]
fn csv_refuses_numbers_that_may_mean_two_things() {
    assert_eq!(
        refused("1,5;2\n3;0.5\n", &plain()),
        "line 2, column 2: expected a number with a decimal comma, as at line 1, column 1, found \"0.5\""
    );
    assert_eq!(
        refused("0.5;2\n3;1,5\n", &plain()),
        "line 2, column 2: expected a number with a decimal point, as at line 1, column 1, found \"1,5\""
    );
    // a thousand and two hundred, or a little more than one
    assert_eq!(
        refused("1,200\t2\n", &plain()),
        "line 1, column 1: expected a number (option `decimal_comma` reads decimal commas), found \"1,200\""
    );
    assert_eq!(
        refused("1;2,5\n", &plain().decimal_comma(false)),
        "line 1, column 2: expected a number without decimal comma, as option `decimal_comma` says, found \"2,5\""
    );
    assert_eq!(
        refused("1;2.5\n", &plain().decimal_comma(true)),
        "line 1, column 2: expected a number with a decimal comma, as option `decimal_comma` says, found \"2.5\""
    );
    assert!(refused("1.234,5;2\n", &plain()).starts_with("line 1, column 1: expected a number"));
    assert_eq!(
        refused("a b\n1\n", &plain().header()),
        "line 2: expected 2 columns, found 1 (separated by blanks, as the first line seems to be: option `separator`)"
    );
}

#[test]
fn csv_skips_comments_and_reads_every_line_end() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["# made by hand", "1,2", "", " # more", "3,4", "5,6"].join(end);
        for text in [text.clone(), text.clone() + end] {
            let data = read(&text, &plain());
            assert_eq!(values(&data.x), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "{end:?}");
            assert_eq!(data.notes, ["skipped 2 lines that start with #"]);
        }
        let e = refused(text + end + "7,x", &plain());
        assert_eq!(e, "line 7, column 2: expected a number, found \"x\"", "{end:?}");
    }
    assert_eq!(values(&read("% 1\n1,2\n", &plain().comment(Some('%'))).x), [1.0, 2.0]);
    assert!(refused("#1,2\n", &plain().comment(None)).starts_with("line 1, column 1: expected a number"));
    // numpy.savetxt puts its header behind the sign of a comment: the first row must not become the header
    let e = refused("# x y\n1 2\n3 4\n", &plain().header());
    assert!(e.starts_with("line 2: expected the names of the columns, found numbers below a comment"), "{e}");
    assert_eq!(values(&read("# x y\n1 2\n3 4\n", &plain()).x), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values(&read("0,1\n5,6\n", &plain().header()).x), [5.0, 6.0], "pandas names columns by number");
}

#[test]
fn csv_reads_utf16_by_its_mark() {
    let text = "höhe;klasse\r\n1,5;ja\r\n2,5;nein\r\n";
    for order in [u16::to_le_bytes, u16::to_be_bytes] {
        let bytes: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(order).collect();
        for bytes in [gzip(&bytes), bytes] {
            let data = read(bytes, &plain().header().label("klasse"));
            assert_eq!((values(&data.x), data.labels), (vec![1.5, 2.5], Some(vec![0, 1])));
        }
    }
    let unmarked: Vec<u8> = "1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let e = refused(unmarked, &plain());
    assert_eq!(
        e,
        "line 1: expected text, found a zero byte (UTF-16 needs its byte order mark: save the file as UTF-8)"
    );
}

#[test]
fn csv_reads_quotes_with_separators_line_breaks_and_quotes_inside() {
    let text = "\"a \"\"big\"\"\none, named\",b,class\n\"1\",2,\"x\ny\"\n3,\"4\",\"z, \"\"q\"\"\"\n";
    let data = read(text, &plain().header().label("class"));
    assert_eq!(values(&data.x), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(data.classes, Some(vec!["x\ny".to_string(), "z, \"q\"".to_string()]));
    let by_name = read(text, &plain().header().label("a \"big\"\none, named").ignore("class"));
    assert_eq!(by_name.labels, Some(vec![1, 3]), "{:?}", by_name.x.size());
    // places count the lines within quotes
    let e = refused("a,b\n\"1\n\",2\n3,x\n", &plain().header());
    assert_eq!(e, "line 4, column 2: expected a number, found \"x\"");
    let e = refused("a,\"b\nc\",d\n1,2,3\n4,5,\"\n6\"7\n", &plain().header());
    assert_eq!(e, "line 5, column 3: expected the end of the field behind its quote (commas separate)");
    let e = refused("1,2\n3,\"4\n5,6\n", &plain());
    assert_eq!(e, "line 2: expected a quote that ends the quoted field, the file ends");
}

const IRIS: &str =
    "sepal length,sepal width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,virginica\n4.9,3.0,setosa\n";

#[test]
fn csv_numbers_text_labels_in_alphabetical_order() {
    let data = read(IRIS, &plain().header().label("species"));
    assert_eq!(data.labels, Some(vec![0, 1, 2, 0]));
    assert_eq!(data.classes, Some(["setosa", "versicolor", "virginica"].map(String::from).to_vec()));
    assert!(data.to_string().ends_with("4 examples of 2 numbers; classes: setosa 2, versicolor 1, virginica 1"));
    // the numbers do not depend on the order of the rows
    let turned: Vec<&str> = IRIS.lines().skip(1).collect();
    let turned = turned.into_iter().rev().collect::<Vec<_>>().join("\n");
    assert_eq!(read(turned, &plain().label(2)).labels, Some(vec![0, 2, 1, 0]));
    assert_eq!(read("1,2.0\n3,-1.0\n", &plain().label(1)).labels, Some(vec![2, -1]));
    let mixed = |text: &str| refused(text, &plain().label(1));
    assert_eq!(mixed("1,a\n2,3\n"), "line 2, column 2: expected a label of text as at line 1, column 2, found \"3\"");
    assert_eq!(mixed("1,3\n2,a\n"), "line 2, column 2: expected an integer label as at line 1, column 2, found \"a\"");
    assert_eq!(mixed("1,a\n2,\n"), format!("line 2, column 2: expected a label, found \"\" {HELPS}"));
    assert_eq!(mixed("1,a\n2,NA\n"), format!("line 2, column 2: expected a label, found \"NA\" {HELPS}"));
    assert_eq!(read("1,a\n2,\"NA\"\n", &plain().label(1)).classes.unwrap()[0], "NA", "R quotes text");
    let dropped = read("4,a\n2,\n3,b\n", &plain().label(1).missing(Missing::DropRow));
    assert_eq!((values(&dropped.x), dropped.labels), (vec![4.0, 3.0], Some(vec![0, 1])));
    assert!(refused("1,a\n2,\n", &plain().label(1).missing(Missing::Mean)).contains("expected a label, found"));
}

#[test]
fn csv_refuses_drops_or_fills_missing_values() {
    let text = "a,b,c\n1,10,x\nNA,20,x\n3,,y\n8,60,x\n";
    let options = |missing| plain().header().label("c").missing(missing);
    assert_eq!(
        refused(text, &options(Missing::Refuse)),
        format!("line 3, column 1: expected a number, found \"NA\" {HELPS}")
    );
    let dropped = read(text, &options(Missing::DropRow));
    assert_eq!((values(&dropped.x), dropped.labels), (vec![1.0, 10.0, 8.0, 60.0], Some(vec![0, 0])));
    assert_eq!(dropped.notes, ["left out 2 of 4 rows for a missing value, the first at line 3, column 1"]);
    let filled = read(text, &options(Missing::Mean));
    assert_eq!(values(&filled.x), [1.0, 10.0, 4.0, 20.0, 3.0, 30.0, 8.0, 60.0]);
    assert_eq!(filled.labels, Some(vec![0, 0, 1, 0]));
    assert_eq!(filled.notes, ["put the column's mean for 2 missing values, the first at line 3, column 1"]);
    for word in ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"] {
        let text = format!("1,2\n{word},4\n5,6\n");
        assert_eq!(values(&read(&text, &plain().missing(Missing::DropRow)).x), [1.0, 2.0, 5.0, 6.0], "{word:?}");
        assert!(refused(&text, &plain()).starts_with("line 2, column 1: expected a number, found"), "{word:?}");
    }
    let e = refused("1,NA\n2,NA\n", &plain().missing(Missing::Mean));
    assert_eq!(e, "line 1: expected a value in coordinate 2, all are missing");
    let e = refused("1,NA\n2,NA\n", &plain().missing(Missing::DropRow));
    assert_eq!(e, "line 1: expected a row without missing values, all 2 have some");
}

#[test]
fn csv_leaves_out_an_empty_last_column() {
    let note = "left out column 3, which is empty: its lines end with a separator";
    for (text, options) in
        [("1,2,\n3,4,\n", plain()), ("a,b,\n1,2,\n3,4,\n", plain().header()), ("a,b\n1,2,\n3,4,\n", plain().header())]
    {
        let data = read(text, &options);
        assert_eq!((values(&data.x), data.notes), (vec![1.0, 2.0, 3.0, 4.0], vec![note.to_string()]), "{text:?}");
    }
    let e = refused("1,2,\n3,4,5\n", &plain());
    assert!(e.starts_with("line 2, column 3: expected an empty last field, as in the first row of numbers"), "{e}");
    // with a name it is a missing value
    let e = refused("a,b,c\n1,2,\n", &plain().header());
    assert_eq!(e, format!("line 2, column 3: expected a number, found \"\" {HELPS}"));
}

#[test]
fn csv_leaves_out_row_names_and_says_so() {
    let note = "left out column 1, which holds row names";
    for (text, options) in [
        ("\"\",\"a\",\"b\"\n\"1\",5,6\n\"2\",7,8\n\"3\",9,10\n", plain().header()),
        (",a,b\n0,5,6\n1,7,8\n2,9,10\n", plain().header()),
        ("Unnamed: 0,a,b\n0,5,6\n1,7,8\n2,9,10\n", plain().header()),
        ("\"\",\"a\",\"b\"\n\"Mazda\",5,6\n\"Fiat\",7,8\n\"VW\",9,10\n", plain().header()),
        ("\"a\",\"b\"\n\"1\",5,6\n\"2\",7,8\n\"3\",9,10\n", plain().header()),
        ("1,5,6\n2,7,8\n3,9,10\n", plain().row_names(RowNames::Drop)),
    ] {
        let data = read(text, &options);
        assert_eq!((values(&data.x), data.notes), (vec![5., 6., 7., 8., 9., 10.], vec![note.to_string()]), "{text:?}");
    }
    // R's write.table
    let data = read("\"a\" \"b\"\n\"1\" 5 6\n\"2\" 7 8\n", &plain().header().label("b"));
    assert_eq!((values(&data.x), data.labels), (vec![5.0, 7.0], Some(vec![6, 8])));
    let kept = read(",a\n1,5\n2,6\n3,7\n", &plain().header().row_names(RowNames::Keep));
    assert_eq!((kept.dim(), kept.notes.len()), (2, 0));
    let kept = read("1,5\n2,6\n3,7\n", &plain().row_names(RowNames::Keep));
    assert_eq!(values(&kept.x), [1., 5., 2., 6., 3., 7.]);
    for (text, from) in [("1,5\n2,6\n3,7\n", "1, 2, 3"), ("0,5\n1,6\n2,7\n", "0, 1, 2")] {
        let expected = format!("either row names or a coordinate, found a first column that counts {from}, …");
        let e = refused(text, &plain());
        assert_eq!(e, format!("line 1, column 1: expected {expected}: say which by option `row_names`"));
        assert_eq!(read(text, &plain().label(0)).dim(), 1, "labels may count");
    }
    assert_eq!(values(&read("1,5\n2,6\n4,7\n", &plain()).x), [1., 5., 2., 6., 4., 7.]);
    let named = read("Id,a\n1,5\n2,6\n3,7\n", &plain().header());
    assert_eq!(named.dim(), 2);
    assert_eq!(
        named.notes,
        ["column 1, \"Id\", counts 1, 2, 3, …: where it is no coordinate, leave it out by option `ignore`"]
    );
    assert_eq!(values(&read("Id,a\n1,5\n2,6\n", &plain().header().ignore("Id")).x), [5.0, 6.0]);
    let e = refused("1,2\n", &plain().label(0).row_names(RowNames::Drop));
    assert_eq!(e, "line 1: expected labels in another column than the row names, found column 1 for both");
}

#[test]
fn csv_takes_a_limit_for_sparse_gzipped_tables() {
    let dir = folder();
    let text = "0,0,0,0,0,0,0,0\n".repeat(1_200_000);
    let path = put(&dir, "sparse.csv.gz", gzip(&text));
    let e = message(read_csv(&path, &plain()));
    let expected = "expected at most 16777216 bytes of text from so small a gzipped file; unzip it, or raise option \
                    `gzip_limit`, if all is well";
    assert!(e.contains("line 1048577: ") && e.ends_with(expected), "{e}");
    assert_eq!(read_csv(&path, &plain().gzip_limit(text.len() as u64)).unwrap().len(), 1_200_000);
    let e = message(read_csv(&path, &plain().gzip_limit(text.len() as u64 - 1)));
    assert!(e.contains("line 1200000: expected at most 19199999 bytes"), "{e}");
    // of a plain file, the limit says nothing
    assert_eq!(read("1,2\n", &plain().gzip_limit(1)).len(), 1);
}
