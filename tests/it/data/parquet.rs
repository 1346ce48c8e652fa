//! Parquet files: numbers, vectors, labels, index columns, and the column and row of every refusal.

use super::*;

fn plain() -> ParquetOptions {
    ParquetOptions::default()
}

fn parquet(folder: &TempDir, name: &str, columns: Vec<Series>) -> PathBuf {
    let path = folder.path().join(name);
    let mut frame = DataFrame::new_infer_height(columns).unwrap();
    ParquetWriter::new(fs::File::create(&path).unwrap()).finish(&mut frame).unwrap();
    path
}

#[test]
fn parquet_reads_numbers_of_any_kind() {
    let dir = folder();
    let columns = vec![
        Values::new("a".into(), [1.5_f64, 2.5]).into_column(),
        Values::new("class".into(), [3_i64, -4]).into_column(),
        Values::new("b".into(), [1_i32, 2]).into_column(),
        Values::new("c".into(), [true, false]).into_column(),
    ];
    let path = parquet(&dir, "points", columns);
    let data = read_parquet(&path, &plain().label("class").range(0.0, 3.0)).unwrap();
    assert_eq!((data.x.size(), data.x.kind(), data.shape), (vec![2, 3], Kind::Double, vec![3]));
    assert_eq!(values(&data.x), [1.5, 1.0, 1.0, 2.5, 2.0, 0.0]);
    assert_eq!((data.labels, data.range), (Some(vec![3, -4]), Some((0.0, 3.0))));
    assert_eq!(read_parquet(&path, &plain()).unwrap().dim(), 4);
}

#[test]
fn parquet_says_where_a_bad_table_goes_wrong() {
    let dir = folder();
    let floats = |v: &[f64]| Values::new("a".into(), v).into_column();
    let words = || Values::new("s".into(), ["x", "y"]).into_column();
    let read = |path: &PathBuf, label: Option<&str>, range| {
        let mut options = plain();
        (options.label_column, options.range) = (label.map(String::from), range);
        read_parquet(path, &options)
    };

    let path = parquet(&dir, "nan", vec![floats(&[1.0, f64::NAN])]);
    fails(read(&path, None, None), &path, "column \"a\", row 2", "a finite number, found NaN");
    let path = parquet(&dir, "range", vec![floats(&[1.0, 17.0])]);
    fails(read(&path, None, Some((0.0, 16.0))), &path, "column \"a\", row 2", "a number in [0, 16], found 17");
    let path = parquet(&dir, "null", vec![Values::new("a".into(), [Some(1.0), None]).into_column()]);
    fails(
        read(&path, None, None),
        &path,
        "column \"a\", row 2",
        "a number, found null (a missing value: option `missing` drops the row or takes the column's mean)",
    );
    let path = parquet(&dir, "text", vec![floats(&[1.0, 2.0]), words()]);
    fails(
        read(&path, None, None),
        &path,
        "column \"s\"",
        "numbers or lists of numbers, found text (make it the labels by option `label_column`, or leave it out by `ignore`)",
    );
    fails(read(&path, Some("a"), None), &path, "column \"a\"", "integer or text labels, found float64");
    fails(read(&path, Some("z"), None), &path, "column \"z\"", "this column for the labels, found [\"a\", \"s\"]");
    let path = parquet(&dir, "label", vec![Values::new("k".into(), [1_i64, 2]).into_column()]);
    fails(read(&path, Some("k"), None), &path, "row 1", "a column besides that of the labels");
    let holes = Values::new("k".into(), [Some(1_i64), None]).into_column();
    let path = parquet(&dir, "holes", vec![floats(&[1.0, 2.0]), holes]);
    fails(
        read(&path, Some("k"), None),
        &path,
        "column \"k\", row 2",
        "a label, found null (a missing value: option `missing` drops the row or takes the column's mean)",
    );
    let path = parquet(&dir, "empty", vec![floats(&[])]);
    fails(read(&path, None, None), &path, "row 1", "a row of numbers, the table is empty");
}

#[test]
fn parquet_says_where_a_bad_file_goes_wrong() {
    let dir = folder();
    let path = parquet(&dir, "good", vec![Values::new("a".into(), [1.0, 2.0, 3.0]).into_column()]);
    let whole = fs::read(&path).unwrap();
    let length = whole.len();

    let path = put(&dir, "nothing", "");
    fails(read_parquet(&path, &plain()), &path, "byte 0", "a Parquet file of 12 bytes or more, the file ends");
    let path = put(&dir, "text", "a,b\n1,2\n3,4\n");
    fails(read_parquet(&path, &plain()), &path, "byte 0", "the magic PAR1 of a Parquet file");
    let path = put(&dir, "cut", &whole[..length - 1]);
    let place = format!("byte {}", length - 5);
    fails(read_parquet(&path, &plain()), &path, &place, "the closing magic PAR1, the file is truncated");
    let mut lying = whole.clone();
    lying[length - 8..length - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let (path, place) = (put(&dir, "lying", &lying), format!("byte {}", length - 8));
    let expected = format!("a footer of at most {} bytes, found 4294967295", length - 12);
    fails(read_parquet(&path, &plain()), &path, &place, &expected);
    // noise where the footer should be
    let mut noise = whole.clone();
    let footer =
        u32::from_le_bytes([whole[length - 8], whole[length - 7], whole[length - 6], whole[length - 5]]) as usize;
    noise[length - 8 - footer..length - 8].fill(0xff);
    let path = put(&dir, "noise", &noise);
    let place = format!("byte {} to byte {}", length - 8 - footer, length - 8);
    fails_like(read_parquet(&path, &plain()), &path, &place, "a readable footer (");
}

#[test]
fn a_parquet_file_with_any_one_byte_changed_is_read_or_refused_with_its_name() {
    let dir = folder();
    let path = parquet(&dir, "good", vec![Values::new("a".into(), [1.0, 2.0, 3.0]).into_column()]);
    let whole = fs::read(&path).unwrap();
    let mut negative = 0;
    for n in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[n] ^= 0x41;
        if let Err(e) = read_parquet(put(&dir, "damaged", &damaged), &plain()) {
            assert!(matches!(e, Error::Data { .. }) && e.to_string().contains("/damaged: "), "byte {n}: {e}");
            negative += usize::from(e.to_string().contains("byte 4: expected a page of 0 to 3 values, found -"));
        }
    }
    assert_eq!(negative, 1, "the count of the page's values, on which polars aborts");
}

/// A file that pandas or pyarrow wrote.
fn written(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/files")).join(name)
}

/// Of `vectors.parquet` or `types.parquet`, these columns only.
fn only(name: &str, kept: &[&str]) -> Result<Dataset> {
    let all: &[&str] = match name {
        "vectors.parquet" => &["image", "embedding", "free", "ragged", "hole", "inner", "empty", "kind"],
        _ => &["x", "half", "price", "day", "instant", "span", "text", "bytes", "picture", "words", "class", "nothing"],
    };
    let options = all.iter().filter(|c| !kept.contains(c)).fold(plain(), |o, c| o.ignore(*c));
    read_parquet(written(name), &options)
}

#[test]
fn parquet_reads_lists_of_one_length_as_coordinates() {
    let images = only("vectors.parquet", &["image"]).unwrap();
    assert_eq!((images.x.size(), images.shape.as_slice()), (vec![2, 6], &[3, 2][..]));
    assert_eq!(values(&images.x), (1..=12).map(f64::from).collect::<Vec<_>>());
    let both = only("vectors.parquet", &["embedding", "free"]).unwrap();
    assert_eq!((both.x.size(), both.shape.as_slice()), (vec![2, 5], &[5][..]));
    assert_eq!(values(&both.x), [0.5, -1.5, 2.0, 1.0, 2.0, 0.0, 1.0, 4.0, 3.0, 4.0]);
    // as polars writes them
    let dir = folder();
    let row = |v: &[f64]| Values::new("".into(), v);
    let lists = Values::new("v".into(), [row(&[1.0, 2.0]), row(&[3.0, 4.0]), row(&[5.0, 6.0])]).into_column();
    let data = read_parquet(parquet(&dir, "lists", vec![lists]), &plain().range(1.0, 6.0)).unwrap();
    assert_eq!((values(&data.x), data.shape), (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![2]));
}

#[test]
fn parquet_says_which_list_is_no_vector() {
    let path = written("vectors.parquet");
    let fail = |column: &str, place: &str, expected: &str| {
        fails(only("vectors.parquet", &[column]), &path, &format!("column \"{column}\"{place}"), expected);
    };
    fail("ragged", ", row 2", "a list of 2, as in row 1, found one of 1");
    fail("hole", ", row 2", "a list, found null");
    fail("empty", ", row 1", "a list of at least one number, found an empty one");
    let helps = "(a missing value: option `missing` drops the row or takes the column's mean)";
    fail("inner", ", row 2", &format!("a number, found null {helps}"));
    let ignoring = ["image", "embedding", "free", "ragged", "hole", "empty", "kind"];
    let options = |missing| ignoring.iter().fold(plain(), |o, c| o.ignore(*c)).missing(missing);
    let dropped = read_parquet(&path, &options(Missing::DropRow)).unwrap();
    assert_eq!((values(&dropped.x), dropped.shape), (vec![1.0, 2.0], vec![2]));
    let note = "left out 1 of 2 rows for a missing value, the first at column \"inner\", row 2";
    assert_eq!(dropped.notes, [note]);
    assert_eq!(values(&read_parquet(&path, &options(Missing::Mean)).unwrap().x), [1.0, 2.0, 1.0, 4.0]);
}

#[test]
fn parquet_refuses_other_types_by_column_and_never_reads_what_is_ignored() {
    let path = written("types.parquet");
    assert_eq!(values(&only("types.parquet", &["x"]).unwrap().x), [1.0, 2.0]);
    let float = " (write it as float32 or float64, or leave it out by option `ignore`)";
    let (text, leave) = (
        " (make it the labels by option `label_column`, or leave it out by `ignore`)",
        " (leave it out by option `ignore`)",
    );
    for (column, found, helps) in [
        ("half", "float16", float),
        ("price", "decimal(3, 2)", float),
        ("day", "dates", leave),
        ("instant", "times", leave),
        ("span", "duration(microsecond)", leave),
        ("text", "text", text),
        ("bytes", "bytes", leave),
        ("picture", "structs of bytes, path", leave),
        ("words", "lists of text", leave),
        ("class", "categories of text", text),
        ("nothing", "null", leave),
    ] {
        let expected = format!("numbers or lists of numbers, found {found}{helps}");
        let place = format!("column \"{column}\"");
        fails(only("types.parquet", &["x", column]), &path, &place, &expected);
    }
    let e = message(read_parquet(&path, &plain().ignore("y")));
    assert!(e.contains("column \"y\": expected this column to leave out, found [\"x\", \"half\""), "{e}");
}

#[test]
fn parquet_numbers_text_labels_in_alphabetical_order() {
    let ignored = ["half", "price", "day", "instant", "span", "bytes", "picture", "words", "nothing"];
    let options = ignored.iter().fold(plain(), |o, c| o.ignore(*c));
    for (label, other) in [("text", "class"), ("class", "text")] {
        let data = read_parquet(written("types.parquet"), &options.clone().ignore(other).label(label)).unwrap();
        assert_eq!(data.labels, Some(vec![0, 1]));
        assert_eq!(data.classes, Some(vec!["u".to_string(), "v".to_string()]));
    }
    let vectors = ["embedding", "free", "ragged", "hole", "inner", "empty"];
    let options = vectors.iter().fold(plain(), |o, c| o.ignore(*c)).label("kind");
    let data = read_parquet(written("vectors.parquet"), &options).unwrap();
    assert_eq!((data.labels, data.shape), (Some(vec![1, 0]), vec![3, 2]));
}

#[test]
fn parquet_leaves_out_the_index_of_pandas_and_says_so() {
    for (file, name) in [("index.parquet", "__index_level_0__"), ("named_index.parquet", "id")] {
        let data = read_parquet(written(file), &plain()).unwrap();
        assert_eq!(values(&data.x), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(data.notes, [format!("left out column \"{name}\", the index of a pandas table")]);
        let kept = read_parquet(written(file), &plain().keep_index()).unwrap();
        assert_eq!((values(&kept.x)[..3].to_vec(), kept.notes.len()), (vec![1.0, 4.0, 10.0], 0));
        let labelled = read_parquet(written(file), &plain().label(name)).unwrap();
        assert_eq!((labelled.dim(), labelled.labels), (2, Some(vec![10, 20, 30])));
    }
}
