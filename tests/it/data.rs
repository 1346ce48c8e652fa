//! Readers: what they return for good files, and that the error for a bad one names file, place and expectation.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use jarzynski::data::{
    Binarisation, Column, CsvOptions, Dataset, Missing, ParquetOptions, RowNames, Separator, Share, Split, digits,
    fashion_mnist, mnist, read_csv, read_idx, read_idx_pair, read_parquet,
};
use jarzynski::polars::prelude::{Column as Series, DataFrame, IntoColumn, NamedFrom, ParquetWriter, Series as Values};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{Error, Result};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

mod csv;
mod dataset;
mod idx;
mod parquet;

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

#[test]
fn a_file_that_is_not_there_is_the_systems_error_with_its_path() {
    let dir = folder();
    let path = dir.path().join("nowhere");
    let options = CsvOptions::default();
    for result in [
        read_idx(&path),
        read_csv(&path, &options),
        read_parquet(&path, &ParquetOptions::default()),
        read_idx(dir.path()),
    ] {
        let e = result.unwrap_err();
        assert!(matches!(e, Error::Io { .. }) && e.to_string().contains(dir.path().to_str().unwrap()), "{e:?}");
    }
}

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

#[test]
fn a_tilde_is_the_home_folder_for_every_reader() {
    let home = std::env::home_dir().expect("a home folder");
    let dir = tempfile::Builder::new().prefix(".jarzynski-test-").tempdir_in(&home).unwrap();
    let name = Path::new("~").join(dir.path().strip_prefix(&home).unwrap());
    put(&dir, "points.csv", "1,2\n");
    put(&dir, "bytes", [0, 0, 8, 1, 0, 0, 0, 1, 7]);
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/files/index.parquet"), dir.path().join("table")).unwrap();
    assert_eq!(values(&read_csv(name.join("points.csv"), &CsvOptions::default()).unwrap().x), [1.0, 2.0]);
    assert_eq!(values(&read_idx(name.join("bytes")).unwrap().x), [7.0]);
    assert_eq!(read_parquet(name.join("table"), &ParquetOptions::default()).unwrap().len(), 3);
    let e = message(read_idx(name.join("nothing")));
    assert!(e.starts_with(dir.path().to_str().unwrap()), "{e}");
}
