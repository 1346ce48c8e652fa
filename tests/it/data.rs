//! Readers: what they return for good files, and that the error for a bad one names file, place and expectation.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use jarzynski::data::{
    Column, CsvOptions, Dataset, Split, digits, fashion_mnist, mnist, read_csv, read_idx, read_idx_pair, read_parquet,
};
use jarzynski::polars::prelude::{Column as Series, DataFrame, IntoColumn, NamedFrom, ParquetWriter, Series as Values};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{Error, Result};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn put(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn values(x: &Tensor) -> Vec<f64> {
    Vec::try_from(x.to_kind(Kind::Double).reshape(-1)).unwrap()
}

/// The whole message: file, place, expectation.
fn fails(result: Result<Dataset>, path: &Path, place: &str, expected: &str) {
    let e = result.expect_err(&format!("{place}: {expected}"));
    assert!(matches!(e, Error::Data { .. }), "{e:?}");
    assert_eq!(e.to_string(), format!("{}: {place}: expected {expected}", path.display()));
}

/// As [`fails`], where a decompressor or polars words a part: the message starts and ends as given.
fn fails_like(result: Result<Dataset>, path: &Path, place: &str, expected: &str) {
    let e = result.expect_err(&format!("{place}: {expected}"));
    assert!(matches!(e, Error::Data { .. }), "{e:?}");
    let (text, start) = (e.to_string(), format!("{}: {place}", path.display()));
    assert!(text.starts_with(&start) && text.contains(&format!("expected {expected}")), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

// ---------------------------------------------------------------------------------------------------- the data set

fn small() -> Dataset {
    let x = Tensor::from_slice(&[0.0_f64, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).view([5, 2]);
    Dataset::new("small", x).unwrap().with_labels(vec![7, 3, 7, 3, 7]).unwrap()
}

#[test]
fn select_takes_the_first_of_each_class_in_the_order_of_the_file() {
    let data = small();
    let some = data.select(&[3, 7], &[1, 2]).unwrap();
    assert_eq!(values(&some.x), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(some.labels, Some(vec![7, 3, 7]));
    assert_eq!(some.counts(), [(3, 1), (7, 2)].into());
    assert_eq!(values(&data.select(&[3], &[2]).unwrap().x), [2.0, 3.0, 6.0, 7.0]);
    assert_eq!((data.len(), data.counts()), (5, [(3, 2), (7, 3)].into()), "the original is as it was");
}

#[test]
fn select_says_what_is_missing() {
    let data = small();
    let select = |labels: &[i64], counts: &[usize]| message(data.select(labels, counts));
    assert_eq!(select(&[3, 7], &[1, 4]), "count = 4: expected at most 3, the examples of label 7 in small");
    assert_eq!(select(&[9], &[1]), "count = 1: expected at most 0, the examples of label 9 in small");
    assert_eq!(select(&[3, 7], &[1]), "counts = [1]: expected one per label of [3, 7]");
    assert_eq!(select(&[3, 3], &[1, 1]), "labels = [3, 3]: expected each label once");
    assert_eq!(select(&[3, 7], &[0, 0]), "counts = [0, 0]: expected at least one example");
    let bare = Dataset::new("bare", data.x.shallow_clone()).unwrap();
    assert_eq!(message(bare.select(&[3], &[1])), "labels = none: expected bare with a label per example");
}

#[test]
fn split_keeps_order_labels_and_refuses_an_empty_part() {
    let (first, rest) = small().split(2).unwrap();
    assert_eq!((values(&first.x), first.labels), (vec![0.0, 1.0, 2.0, 3.0], Some(vec![7, 3])));
    assert_eq!((rest.len(), rest.labels), (3, Some(vec![7, 3, 7])));
    assert_eq!(message(small().split(0)), "n = 0: expected from 1 to 4: small has 5 examples");
    assert_eq!(message(small().split(5)), "n = 5: expected from 1 to 4: small has 5 examples");
}

#[test]
fn scale_maps_the_declared_range_exactly_at_its_ends_and_leaves_the_original() {
    let bytes: Vec<f32> = (0..=255).map(|b| b as f32).collect();
    let data = Dataset::new("bytes", Tensor::from_slice(&bytes).view([256, 1])).unwrap();
    assert_eq!(message(data.scale(0.0, 1.0)), "range = none: expected bytes with a declared range");
    let data = data.with_range(0.0, 255.0).unwrap();
    for (lo, hi) in [(0.0, 1.0), (-1.0, 1.0), (-3.0, 5.0)] {
        let scaled = data.scale(lo, hi).unwrap();
        let v = values(&scaled.x);
        assert_eq!((v[0], v[255], scaled.range), (lo, hi, Some((lo, hi))));
        let back = values(&scaled.scale(0.0, 255.0).unwrap().x);
        assert!(back.iter().zip(&bytes).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-4));
    }
    assert_eq!(values(&data.x)[255], 255.0);
    assert_eq!(message(data.scale(1.0, 1.0)), "scale = [1, 1]: expected finite ends, the first below the second");
    assert_eq!(
        message(data.with_range(0.0, 99.5)),
        "range = [0, 99.5]: expected an interval that holds [0, 255], the values of bytes"
    );
}

#[test]
fn kinds_shapes_and_labels_are_checked() {
    let data = small();
    assert_eq!(data.with_kind(Kind::Float).unwrap().x.kind(), Kind::Float);
    assert_eq!(data.x.kind(), Kind::Double);
    assert_eq!(message(data.with_kind(Kind::Int64)), "kind = Int64: expected Float or Double");
    assert_eq!(data.with_shape(&[1, 2]).unwrap().shape, [1, 2]);
    let product = "expected positive sides with product 2, the width of small";
    assert_eq!(message(data.with_shape(&[3])), format!("shape has shape [3]: {product}"));
    assert_eq!(message(data.with_shape(&[-1, -2])), format!("shape has shape [-1, -2]: {product}"));
    assert_eq!(message(data.with_shape(&[i64::MAX, 4])), format!("shape has shape [{}, 4]: {product}", i64::MAX));
    assert_eq!(
        message(data.with_labels(vec![1])),
        "labels has shape [1]: expected [5], one label per example of small"
    );
    let new = |x: Tensor| message(Dataset::new("own", x));
    assert_eq!(new(Tensor::from_slice(&[1.0])), "x has shape [1]: expected [n, d] with n, d ≥ 1");
    assert_eq!(
        new(Tensor::zeros([0, 3], (Kind::Float, jarzynski::tch::Device::Cpu))),
        "x has shape [0, 3]: expected [n, d] with n, d ≥ 1"
    );
    assert_eq!(new(Tensor::from_slice(&[1_i64]).view([1, 1])), "kind = Int64: expected Float or Double");
    let nan = Tensor::from_slice(&[0.0, 1.0, 2.0, f64::NAN]).view([2, 2]);
    assert_eq!(new(nan), "x is not finite at row 1, column 1");
}

// --------------------------------------------------------------------------------------------------------- the digits

#[test]
fn the_digits_are_the_ones_of_the_readme() {
    let bytes = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/digits.csv.gz")).unwrap();
    let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(sum, "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22");
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/README.md")).unwrap();
    assert!(readme.contains(&sum));
}

#[test]
fn the_digits_have_their_known_counts_and_values() {
    let data = digits().unwrap();
    assert_eq!((data.x.size(), data.x.kind()), (vec![1797, 64], Kind::Float));
    assert_eq!((data.shape.as_slice(), data.range, data.name.as_str()), (&[8, 8][..], Some((0.0, 16.0)), "digits"));
    let counts: Vec<usize> = data.counts().into_values().collect();
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    assert_eq!(data.labels.as_deref().unwrap()[..5], [0, 1, 2, 3, 4]);
    let v = values(&data.x);
    assert!(v.iter().all(|v| (0.0..=16.0).contains(v) && v.fract() == 0.0));
    assert_eq!(v.iter().sum::<f64>(), DIGITS_SUM);
    assert_eq!(v[..16], [0., 0., 5., 13., 9., 1., 0., 0., 0., 0., 13., 15., 10., 15., 5., 0.]);
}

/// awk over the file: the sum of all pixels.
const DIGITS_SUM: f64 = 561_718.0;

// --------------------------------------------------------------------------------------------------------------- IDX

/// An IDX file of bytes with these sizes.
fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|s| file.extend(s.to_be_bytes()));
    file.extend(bytes);
    file
}

#[test]
fn idx_reads_plain_and_gzipped_whatever_the_name() {
    let dir = folder();
    let file = idx(&[2, 2, 3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
    for path in [put(&dir, "plain.gz", &file), put(&dir, "gzipped", gzip(&file))] {
        let data = read_idx(&path).unwrap();
        assert_eq!((data.x.size(), data.x.kind(), data.shape.clone()), (vec![2, 6], Kind::Float, vec![2, 3]));
        assert_eq!(values(&data.x), [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 255.]);
        assert_eq!((data.range, data.labels), (Some((0.0, 255.0)), None));
    }
    let list = read_idx(put(&dir, "list", idx(&[3], &[5, 0, 4]))).unwrap();
    assert_eq!((list.x.size(), list.shape), (vec![3, 1], vec![1]));
}

#[test]
fn idx_pairs_images_with_labels() {
    let dir = folder();
    let images = put(&dir, "images", idx(&[3, 1, 2], &[1, 2, 3, 4, 5, 6]));
    let labels = put(&dir, "labels.gz", gzip(idx(&[3], &[9, 0, 9])));
    let data = read_idx_pair(&images, &labels).unwrap();
    assert_eq!((data.labels.as_deref(), data.counts()), (Some(&[9, 0, 9][..]), [(0, 1), (9, 2)].into()));
    let short = put(&dir, "short", idx(&[2], &[9, 0]));
    let expected = format!("sizes [3], one label per image of {}, found [2]", images.display());
    fails(read_idx_pair(&images, &short), &short, "byte 4", &expected);
    let expected = format!("sizes [3], one label per image of {}, found [3, 1, 2]", images.display());
    fails(read_idx_pair(&images, &images), &images, "byte 4", &expected);
}

#[test]
fn idx_says_where_a_bad_file_goes_wrong_plain_and_gzipped() {
    let good = idx(&[2, 2, 2], &[1; 8]);
    let cases: &[(&str, Vec<u8>, &str, &str)] = &[
        ("empty", vec![], "byte 0", "the 4 bytes of an IDX magic number, the file ends"),
        ("stub", good[..3].to_vec(), "byte 3", "the 4 bytes of an IDX magic number, the file ends"),
        ("magic", b"PNG and more".to_vec(), "byte 0", "the IDX magic number 00 00 08 rank, found 50 4e 47 20"),
        ("floats", [&[0, 0, 13, 1], &good[4..]].concat(), "byte 2", "element type 08, unsigned bytes, found 0d"),
        ("rank", vec![0, 0, 8, 0], "byte 3", "at least one size, found rank 0"),
        ("header", good[..10].to_vec(), "byte 10", "3 sizes of 4 bytes each, the file ends"),
        ("zero", idx(&[2, 0, 2], &[]), "byte 8", "sizes of at least 1, found [2, 0, 2]"),
        ("long", [&good[..], &[1, 1]].concat(), "byte 24", "the end of the file, 8 bytes for sizes [2, 2, 2] are over"),
    ];
    let dir = folder();
    for (name, file, place, expected) in cases {
        let path = put(&dir, name, file);
        fails(read_idx(&path), &path, place, expected);
        let path = put(&dir, &format!("{name}.gz"), gzip(file));
        fails(read_idx(&path), &path, place, expected);
    }
    // plain, the length of the file is known; gzipped, the content has to be read
    let path = put(&dir, "cut", &good[..20]);
    fails(read_idx(&path), &path, "byte 4", "sizes that fit the file, at most 4 bytes follow, found [2, 2, 2]");
    let path = put(&dir, "cut.gz", gzip(&good[..20]));
    fails(read_idx(&path), &path, "byte 20", "8 bytes for sizes [2, 2, 2], the file ends");
}

#[test]
fn idx_does_not_believe_a_header_that_lies() {
    let dir = folder();
    for (name, sizes) in [("large", vec![4_000_000_000, 28, 28]), ("overflow", vec![u32::MAX; 255])] {
        let file = idx(&sizes, &[1; 8]);
        let follow = 8;
        let path = put(&dir, name, &file);
        let expected = format!("sizes that fit the file, at most {follow} bytes follow, found {sizes:?}");
        fails(read_idx(&path), &path, "byte 4", &expected);
        let path = put(&dir, &format!("{name}.gz"), gzip(&file));
        fails_like(read_idx(&path), &path, "byte 4", "sizes that fit the file, at most");
    }
    // a lie below the bound of what gzip could hold: it ends at the true end
    let path = put(&dir, "modest.gz", gzip(idx(&[100, 28], &[1; 8])));
    fails(read_idx(&path), &path, "byte 20", "2800 bytes for sizes [100, 28], the file ends");
}

#[test]
fn idx_notices_every_truncation_and_damage_of_a_gzip_stream() {
    let dir = folder();
    let bytes: Vec<u8> = (0..2000_u32).map(|i| (i * i % 251) as u8).collect();
    let whole = gzip(idx(&[20, 100], &bytes));
    for n in 0..whole.len() {
        let path = put(&dir, "cut.gz", &whole[..n]);
        let e = read_idx(&path).expect_err("a truncated file");
        assert!(matches!(e, Error::Data { .. }) && e.to_string().contains("cut.gz: byte "), "{n}: {e}");
    }
    for n in 10..whole.len() {
        let mut damaged = whole.clone();
        damaged[n] ^= 0x10;
        let path = put(&dir, "damaged.gz", &damaged);
        match read_idx(&path) {
            // the last byte of the deflated stream has unused bits
            Ok(data) => assert!(values(&data.x).iter().zip(&bytes).all(|(v, &b)| *v == f64::from(b)), "{n}"),
            Err(e) => {
                assert!(matches!(e, Error::Data { .. }) && e.to_string().contains("damaged.gz: byte "), "{n}: {e}")
            }
        }
    }
    let path = put(&dir, "tail.gz", [&whole[..], b"tail"].concat());
    fails_like(read_idx(&path), &path, "byte 2012", "a whole gzip stream");
}

#[test]
fn a_file_that_is_not_there_is_the_systems_error_with_its_path() {
    let dir = folder();
    let path = dir.path().join("nowhere");
    let options = CsvOptions::default();
    for result in [read_idx(&path), read_csv(&path, &options), read_parquet(&path, None, None), read_idx(dir.path())] {
        let e = result.unwrap_err();
        assert!(matches!(e, Error::Io { .. }) && e.to_string().contains(dir.path().to_str().unwrap()), "{e:?}");
    }
}

// --------------------------------------------------------------------------------------------------------------- CSV

fn csv(label: Option<Column>, has_header: bool, range: Option<(f64, f64)>) -> CsvOptions {
    CsvOptions { label_column: label, has_header, range }
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
        ("gap", b"1,2\n\n,3\n", plain(), "line 3, column 1", "a number, found \"\""),
        ("nan", b"1,NaN\n", plain(), "line 1, column 2", "a finite number, found NaN"),
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
            "an integer label, found \"2.5\"",
        ),
        ("index", b"1,2\n", csv(Some(Column::Index(2)), false, None), "line 1", "a label in column 3, found 2 columns"),
        ("name", b"a,b\n1,2\n", csv(name("c"), true, None), "line 1", "a header with a column \"c\" for the labels"),
        ("nohead", b"a,b\n1,2\n", csv(name("a"), false, None), "line 1", "a header with a column \"a\" for the labels"),
        ("only", b"a\n1\n", csv(name("a"), true, None), "line 1", "a column besides that of the labels"),
        ("binary", b"1,\xff\xfe\n", plain(), "line 1, column 2", "a number, found \"bytes that are not UTF-8\""),
        ("essay", &[b'z'; 5000], plain(), "line 1, column 1", "a number, found \"zzzzzzzzzzzzzzzzzzzzzzzz\"…"),
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

// ----------------------------------------------------------------------------------------------------------- Parquet

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
    let data = read_parquet(&path, Some("class"), Some((0.0, 3.0))).unwrap();
    assert_eq!((data.x.size(), data.x.kind(), data.shape), (vec![2, 3], Kind::Double, vec![3]));
    assert_eq!(values(&data.x), [1.5, 1.0, 1.0, 2.5, 2.0, 0.0]);
    assert_eq!((data.labels, data.range), (Some(vec![3, -4]), Some((0.0, 3.0))));
    assert_eq!(read_parquet(&path, None, None).unwrap().dim(), 4);
}

#[test]
fn parquet_says_where_a_bad_table_goes_wrong() {
    let dir = folder();
    let floats = |v: &[f64]| Values::new("a".into(), v).into_column();
    let words = || Values::new("s".into(), ["x", "y"]).into_column();
    let read = |path: &PathBuf, label: Option<&str>, range| read_parquet(path, label, range);

    let path = parquet(&dir, "nan", vec![floats(&[1.0, f64::NAN])]);
    fails(read(&path, None, None), &path, "column \"a\", row 2", "a finite number, found NaN");
    let path = parquet(&dir, "range", vec![floats(&[1.0, 17.0])]);
    fails(read(&path, None, Some((0.0, 16.0))), &path, "column \"a\", row 2", "a number in [0, 16], found 17");
    let path = parquet(&dir, "null", vec![Values::new("a".into(), [Some(1.0), None]).into_column()]);
    fails(read(&path, None, None), &path, "column \"a\", row 2", "a number, found null");
    let path = parquet(&dir, "text", vec![floats(&[1.0, 2.0]), words()]);
    fails(read(&path, None, None), &path, "column \"s\"", "a numeric column, found str");
    fails(read(&path, Some("s"), None), &path, "column \"s\"", "integer labels, found str");
    fails(read(&path, Some("a"), None), &path, "column \"a\"", "integer labels, found f64");
    fails(read(&path, Some("z"), None), &path, "column \"z\"", "this column for the labels, found [\"a\", \"s\"]");
    let path = parquet(&dir, "label", vec![Values::new("k".into(), [1_i64, 2]).into_column()]);
    fails(read(&path, Some("k"), None), &path, "row 1", "a column besides that of the labels");
    let holes = Values::new("k".into(), [Some(1_i64), None]).into_column();
    let path = parquet(&dir, "holes", vec![floats(&[1.0, 2.0]), holes]);
    fails(read(&path, Some("k"), None), &path, "column \"k\", row 2", "an integer label of 64 bits");
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
    fails(read_parquet(&path, None, None), &path, "byte 0", "a Parquet file of 12 bytes or more, the file ends");
    let path = put(&dir, "text", "a,b\n1,2\n3,4\n");
    fails(read_parquet(&path, None, None), &path, "byte 0", "the magic PAR1 of a Parquet file");
    let path = put(&dir, "cut", &whole[..length - 1]);
    let place = format!("byte {}", length - 5);
    fails(read_parquet(&path, None, None), &path, &place, "the closing magic PAR1, the file is truncated");
    let mut lying = whole.clone();
    lying[length - 8..length - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let (path, place) = (put(&dir, "lying", &lying), format!("byte {}", length - 8));
    let expected = format!("a footer of at most {} bytes, found 4294967295", length - 12);
    fails(read_parquet(&path, None, None), &path, &place, &expected);
    // noise where the footer should be
    let mut noise = whole.clone();
    let footer =
        u32::from_le_bytes([whole[length - 8], whole[length - 7], whole[length - 6], whole[length - 5]]) as usize;
    noise[length - 8 - footer..length - 8].fill(0xff);
    let path = put(&dir, "noise", &noise);
    let place = format!("byte {} to byte {}", length - 8 - footer, length - 8);
    fails_like(read_parquet(&path, None, None), &path, &place, "a readable footer (");
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
        if let Err(e) = read_parquet(put(&dir, "damaged", &damaged), None, None) {
            assert!(matches!(e, Error::Data { .. }) && e.to_string().contains("/damaged: "), "byte {n}: {e}");
            negative += usize::from(e.to_string().contains("byte 4: expected a page of 0 to 3 values, found -"));
        }
    }
    assert_eq!(negative, 1, "the count of the page's values, on which polars aborts");
}

// ------------------------------------------------------------------------------------------------------------- MNIST

#[test]
#[ignore = "needs MNIST: `make datasets` fetches it"]
fn mnist_has_its_known_counts() {
    let counts = |data: &Dataset| data.counts().into_values().collect::<Vec<usize>>();
    let train = mnist(Split::Train).unwrap();
    assert_eq!((train.x.size(), train.x.kind(), train.shape.clone()), (vec![60_000, 784], Kind::Float, vec![28, 28]));
    assert_eq!(counts(&train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(train.labels.as_deref().unwrap()[..8], [5, 0, 4, 1, 9, 2, 1, 3]);
    // 33.3184 is the published mean pixel (0.1307 of 255)
    assert!((train.x.mean(Kind::Double).double_value(&[]) - 33.3184).abs() < 1e-4);
    let unbalanced = train.select(&[2, 3, 6], &[5600, 2800, 1400]).unwrap().scale(-1.0, 1.0).unwrap();
    assert_eq!(unbalanced.counts(), [(2, 5600), (3, 2800), (6, 1400)].into());
    assert_eq!((unbalanced.x.min().double_value(&[]), unbalanced.x.max().double_value(&[])), (-1.0, 1.0));
    let test = mnist(Split::Test).unwrap();
    assert_eq!(counts(&test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
}

#[test]
#[ignore = "needs Fashion-MNIST: `make datasets` fetches it"]
fn fashion_mnist_has_its_known_counts() {
    for (split, each) in [(Split::Train, 6000), (Split::Test, 1000)] {
        let data = fashion_mnist(split).unwrap();
        assert_eq!((data.len(), data.dim(), data.name.as_str()), (10 * each, 784, "fashion"));
        assert!(data.counts().into_values().eq([each; 10]));
    }
}
