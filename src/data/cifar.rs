//! Read CIFAR-10 from the binary files of its authors, where the user put them.

use super::places::{Variables, named_folder, usual_places};
use super::source::Source;
use super::{Dataset, Split};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

const FOLDERS: [&str; 2] = ["cifar-10-batches-bin", "cifar-10"];
const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: [&str; 1] = ["test_batch.bin"];
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const PIXELS: usize = 3 * 32 * 32;

/// CIFAR-10, binary version (Krizhevsky 2009): `x` is `[n, 3072]`, `Float`, range `(0, 255)`, shape `[3, 32, 32]`: red, green and
/// blue, each row by row; labels 0 to 9 with the names of the classes. 50,000 training images, 10,000 for test.
///
/// The files `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, plain or with `.gz`, are looked for in a folder
/// `cifar-10-batches-bin` (as the authors' archive has it) or `cifar-10` where [`mnist`](super::mnist) looks for its own; no
/// command of the library fetches them.
///
/// # Errors
/// [`Error::Data`] that says where it looked if a file is missing; the errors of [`read_cifar10`].
pub fn cifar10(split: Split) -> Result<Dataset> {
    load(split, &|key| std::env::var_os(key))
}

/// Reads files of records of 3,073 bytes, a label and its image, as one data set.
///
/// # Errors
/// [`Error::Param`] without a file; [`Error::Io`] if one cannot be read; [`Error::Data`] with the byte offset if one is empty, ends
/// within a record, or has a label above 9.
pub fn read_cifar10<P: AsRef<Path>>(files: &[P]) -> Result<Dataset> {
    if files.is_empty() {
        return Err(Error::param("files", "[]", "at least one"));
    }
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        read(file.as_ref(), &mut pixels, &mut labels)?;
    }
    let parts: Vec<&Tensor> = pixels.iter().collect();
    let x = Tensor::f_cat(&parts, 0)?;
    let data = Dataset::new("cifar-10", x)?.with_shape(&[3, 32, 32])?.with_labels(labels)?;
    Ok(Dataset { range: Some((0.0, 255.0)), classes: Some(CLASSES.map(String::from).to_vec()), ..data })
}

/// The images of one file, as floats, and its labels.
fn read(path: &Path, pixels: &mut Vec<Tensor>, labels: &mut Vec<i64>) -> Result<()> {
    const RECORD: usize = PIXELS + 1;
    // as many records at once as take 30 MB
    const BLOCK: usize = 10_000 * RECORD;
    let mut source = Source::open(path)?;
    let mut at = 0;
    loop {
        let bytes = source.read_up_to(BLOCK as u64, at as u64)?;
        let whole = bytes.len() / RECORD;
        if bytes.len() % RECORD != 0 || (at == 0 && whole == 0) {
            let place = format!("byte {}", at + bytes.len());
            return Err(Error::data(source.path, place, format!("whole records of {RECORD} bytes, at least one")));
        }
        if whole == 0 {
            return Ok(());
        }
        for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
            if record[0] as usize >= CLASSES.len() {
                let place = format!("byte {}", at + i * RECORD);
                return Err(Error::data(source.path, place, format!("a label from 0 to 9, found {}", record[0])));
            }
            labels.push(i64::from(record[0]));
        }
        let rows = Tensor::f_from_slice(&bytes)?.f_view([whole as i64, RECORD as i64])?;
        pixels.push(rows.f_narrow(1, 1, PIXELS as i64)?.f_to_kind(Kind::Float)?);
        at += bytes.len();
    }
}

fn load(split: Split, var: &Variables) -> Result<Dataset> {
    let files: &[&str] = match split {
        Split::Train => &TRAIN,
        Split::Test => &TEST,
    };
    let places = match named_folder(var)? {
        Some(named) => vec![named],
        None => usual_places(var)?,
    };
    let folders = || places.iter().flat_map(|place| FOLDERS.map(|folder| place.join(folder)));
    let Some(folder) = folders().find(|folder| folder.is_dir()) else {
        let looked: Vec<String> = folders().map(|folder| folder.display().to_string()).collect();
        let expected = "this file: the authors' binary version of CIFAR-10, unpacked there, or in a folder that JARZYNSKI_DATA names";
        return Err(Error::data(files[0], format!("not in {}", looked.join(", ")), expected));
    };
    let found: Vec<PathBuf> = files.iter().map(|name| plain_or_gzipped(&folder, name)).collect::<Result<_>>()?;
    read_cifar10(&found)
}

fn plain_or_gzipped(folder: &Path, name: &str) -> Result<PathBuf> {
    let [plain, gzipped] = [folder.join(name), folder.join(format!("{name}.gz"))];
    if plain.is_file() {
        Ok(plain)
    } else if gzipped.is_file() {
        Ok(gzipped)
    } else {
        Err(Error::data(folder, name, "this file in the folder, plain or with .gz"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A record whose pixel k of channel c is (label + 50 c + k) mod 256.
    fn record(label: u8) -> Vec<u8> {
        let pixels = (0..PIXELS).map(|i| ((label as usize + 50 * (i / 1024) + i % 1024) % 256) as u8);
        [label].into_iter().chain(pixels).collect()
    }

    #[test]
    fn records_become_channels_first_images_with_named_labels() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.bin", "b.bin"].map(|name| folder.path().join(name));
        std::fs::write(&a, [record(3), record(9)].concat()).unwrap();
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(&record(0)).unwrap();
        std::fs::write(&b, zipped.finish().unwrap()).unwrap();
        let data = read_cifar10(&[&a, &b]).unwrap();
        assert_eq!((data.x.size(), &data.shape[..], data.range), (vec![3, 3072], &[3, 32, 32][..], Some((0.0, 255.0))));
        assert_eq!(data.labels.as_deref(), Some(&[3, 9, 0][..]));
        assert_eq!(data.classes.as_ref().map(|c| c[9].as_str()), Some("truck"));
        for (row, label) in [(0, 3), (1, 9), (2, 0)] {
            let expected: Vec<f64> = record(label)[1..].iter().map(|v| f64::from(*v)).collect();
            assert_eq!(Vec::<f64>::try_from(data.x.get(row).to_kind(Kind::Double)).unwrap(), expected);
        }
    }

    #[test]
    fn the_files_are_found_under_the_authors_names_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let within = base.join("datasets/cifar-10-batches-bin");
        let var = |key: &str| (key == "JARZYNSKI_CACHE").then(|| base.into());
        let e = load(Split::Test, &var).unwrap_err().to_string();
        assert!(e.starts_with("test_batch.bin: not in datasets/downloaded/cifar-10-batches-bin"), "{e}");
        std::fs::create_dir_all(&within).unwrap();
        for (i, name) in TRAIN.iter().enumerate() {
            std::fs::write(within.join(name), record(i as u8)).unwrap();
        }
        assert_eq!(load(Split::Train, &var).unwrap().labels, Some(vec![0, 1, 2, 3, 4]));
        let e = load(Split::Test, &var).unwrap_err().to_string();
        assert!(e.ends_with("test_batch.bin: expected this file in the folder, plain or with .gz"), "{e}");
    }

    #[test]
    fn a_cut_file_a_label_out_of_range_and_an_empty_list_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_cifar10(&[&path]).unwrap_err().to_string()
        };
        assert!(refused(&record(1)[..3000]).ends_with("byte 3000: expected whole records of 3073 bytes, at least one"));
        assert!(refused(&[]).ends_with("byte 0: expected whole records of 3073 bytes, at least one"));
        assert!(
            refused(&[record(1), record(10)].concat()).ends_with("byte 3073: expected a label from 0 to 9, found 10")
        );
        assert!(read_cifar10::<&Path>(&[]).unwrap_err().to_string().contains("at least one"));
    }
}
