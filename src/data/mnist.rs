//! Find MNIST and Fashion-MNIST where `make datasets` or the user put them, under the names that other tools use too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::places::{Variables, named_folder, usual_places};
use super::source::Source;
use super::{Dataset, read_idx_pair};
use crate::error::{Error, Result};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// 60,000 images.
    Train,
    /// 10,000 images.
    Test,
}

/// MNIST: `x` is `[n, 784]`, `Float`, range `(0, 255)`, shape `[28, 28]`, with labels 0 to 9.
///
/// Where `JARZYNSKI_DATA` names a folder, the files are taken from there or the call fails: from its folder `mnist`,
/// `MNIST` or `MNIST/raw` (as torchvision has it), or from the folder itself where the labels are those of MNIST. Otherwise
/// they are looked for in `datasets/downloaded` of the working directory, then in `datasets` of the cache folder
/// (`$JARZYNSKI_CACHE`, else `jarzynski` in `$XDG_CACHE_HOME` or `~/.cache`), where `make datasets` puts them. A file is
/// called `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, plain or with `.gz`, and the others likewise.
///
/// # Errors
/// [`Error::Data`] that says where it looked and how to get the files if they are nowhere, if one of the two is missing or
/// the labels are those of Fashion-MNIST; else the errors of [`read_idx_pair`].
pub fn mnist(split: Split) -> Result<Dataset> {
    load(&MNIST, split, |key| std::env::var_os(key))
}

/// Fashion-MNIST, a drop-in replacement for [`mnist`]: ten classes of clothes, looked for in `fashion`, `fashion-mnist`,
/// `FashionMNIST` or `FashionMNIST/raw` instead.
///
/// # Errors
/// Those of [`mnist`].
pub fn fashion_mnist(split: Split) -> Result<Dataset> {
    load(&FASHION, split, |key| std::env::var_os(key))
}

struct Known {
    name: &'static str,
    folders: &'static [&'static str],
    /// SHA-256 of the decompressed labels, training and test.
    labels: [&'static str; 2],
}

const MNIST: Known = Known {
    name: "mnist",
    folders: &["mnist", "MNIST/raw", "MNIST", "mnist/raw"],
    labels: [
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ],
};

const FASHION: Known = Known {
    name: "fashion",
    folders: &["fashion", "FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "fashion_mnist"],
    labels: [
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ],
};

fn load(set: &Known, split: Split, var: impl Fn(&str) -> Option<OsString>) -> Result<Dataset> {
    let part = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let (images, labels) = match named_folder(&var)? {
        Some(named) => in_named(set, part, &named)?,
        None => in_usual(set, part, &var)?,
    };
    let digest = digest(&labels)?;
    if let Some(other) =
        [&MNIST, &FASHION].into_iter().find(|o| o.name != set.name && o.labels.contains(&digest.as_str()))
    {
        return Err(Error::data(labels, "the labels", format!("those of {}, found those of {}", set.name, other.name)));
    }
    let data = read_idx_pair(&images, &labels)?;
    if data.shape != [28, 28] {
        return Err(Error::data(images, "byte 8", format!("images of 28 × 28 pixels, found {:?}", data.shape)));
    }
    Ok(Dataset { name: set.name.into(), ..data })
}

/// Images and labels in the folder that the user names, and nowhere else.
fn in_named(set: &Known, part: &str, named: &Path) -> Result<(PathBuf, PathBuf)> {
    let refused = |expected: String| Err(Error::data(named, "named by JARZYNSKI_DATA", expected));
    let folders: Vec<PathBuf> = set.folders.iter().map(|f| named.join(f)).collect();
    if let Some(pair) = pair(&folders, part)? {
        return Ok(pair);
    }
    // MNIST and Fashion-MNIST have the same names of files and the same sizes
    if let Some((images, labels)) = pair(&[named.to_path_buf()], part)? {
        if set.labels.contains(&digest(&labels)?.as_str()) {
            return Ok((images, labels));
        }
        return refused(format!("files of {0} in a folder {0}, found {part} files with other labels", set.name));
    }
    let files = format!("{part}-images-idx3-ubyte and {part}-labels-idx1-ubyte");
    let folders = set.folders.join(", ");
    refused(format!("{files} (or with a point for the second dash, or .gz) in it or in its {folders}"))
}

/// Images and labels below the working directory, else in the cache.
fn in_usual(set: &Known, part: &str, var: &Variables) -> Result<(PathBuf, PathBuf)> {
    let places = usual_places(var)?;
    let folders: Vec<PathBuf> = places.iter().flat_map(|place| set.folders.iter().map(|f| place.join(f))).collect();
    pair(&folders, part)?.ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|p| p.join(set.folders[0]).display().to_string()).collect();
        let expected = "this file: `make datasets` in the library's repository fetches it, JARZYNSKI_DATA names a folder \
                        that has it";
        Error::data(format!("{part}-images-idx3-ubyte"), format!("not in {}", looked.join(", ")), expected)
    })
}

/// Images and labels in the first folder that has either; they must not come from two.
fn pair(folders: &[PathBuf], part: &str) -> Result<Option<(PathBuf, PathBuf)>> {
    for folder in folders {
        let [images, labels] = [("images", 3), ("labels", 1)].map(|(what, rank)| {
            let names = ["-", "."].map(|dash| format!("{part}-{what}{dash}idx{rank}-ubyte"));
            let paths = names.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]);
            (paths.into_iter().find(|path| path.is_file()), names[0].clone())
        });
        match (images, labels) {
            ((Some(images), _), (Some(labels), _)) => return Ok(Some((images, labels))),
            ((None, _), (None, _)) => {}
            ((None, missing), (Some(other), _)) | ((Some(other), _), (None, missing)) => {
                let expected = format!("{missing} beside it (or with a point for the second dash, or .gz)");
                return Err(Error::data(other, "its folder", expected));
            }
        }
    }
    Ok(None)
}

/// SHA-256 of a decompressed file.
fn digest(path: &Path) -> Result<String> {
    let mut source = Source::open(path)?;
    // labels are short: what is longer than MNIST's has another digest all the same
    let bytes = source.read_up_to(1 << 20, 0)?;
    Ok(Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Two images of 28 × 28 whose pixels are all `pixel`, with labels 3 and 1, in files of these names.
    fn put(folder: &Path, names: [&str; 2], pixel: u8) {
        fs::create_dir_all(folder).unwrap();
        let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28], [pixel; 2 * 784].as_slice()].concat();
        fs::write(folder.join(names[0]), images).unwrap();
        fs::write(folder.join(names[1]), [0, 0, 8, 1, 0, 0, 0, 2, 3, 1]).unwrap();
    }

    const PLAIN: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

    /// The first pixel of the test set found with these variables, or the error with `base` shortened to `B`.
    fn first(set: &Known, base: &Path, vars: &[(&str, &str)]) -> std::result::Result<f64, String> {
        let vars: Vec<(&str, OsString)> = vars.iter().map(|(k, v)| (*k, base.join(v).into())).collect();
        let var = |key: &str| vars.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
        let data = load(set, Split::Test, var).map_err(|e| e.to_string().replace(base.to_str().unwrap(), "B"))?;
        assert_eq!((data.labels.as_deref(), data.name.as_str()), (Some(&[3, 1][..]), set.name));
        Ok(data.x.f_double_value(&[0, 0]).unwrap())
    }

    #[test]
    fn a_named_folder_is_used_under_the_names_of_other_tools_and_no_other_copy_is() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        put(&base.join("cache/datasets/mnist"), PLAIN, 9);
        put(&base.join("cache/datasets/fashion"), PLAIN, 8);
        let dots = ["t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"];
        let layouts = [("a/mnist", PLAIN, 1), ("b/MNIST/raw", PLAIN, 2), ("c/mnist", dots, 3), ("d/MNIST", dots, 4)];
        for (place, names, pixel) in layouts {
            put(&base.join(place), names, pixel);
            let vars = [("JARZYNSKI_DATA", &place[..1]), ("JARZYNSKI_CACHE", "cache")];
            assert_eq!(first(&MNIST, base, &vars), Ok(f64::from(pixel)), "{place}");
            let e = first(&FASHION, base, &vars).unwrap_err();
            assert!(
                e.starts_with(&format!("B/{}: named by JARZYNSKI_DATA: expected t10k-images-idx3-ubyte", &place[..1])),
                "{e}"
            );
        }
        put(&base.join("e/FashionMNIST/raw"), dots, 5);
        assert_eq!(first(&FASHION, base, &[("JARZYNSKI_DATA", "e")]), Ok(5.0));
        assert_eq!(first(&MNIST, base, &[("JARZYNSKI_CACHE", "cache")]), Ok(9.0));
        let e = first(&MNIST, base, &[("JARZYNSKI_DATA", "none"), ("JARZYNSKI_CACHE", "cache")]).unwrap_err();
        let expected =
            "B/none: named by JARZYNSKI_DATA: expected a folder (unset the variable to look in the usual places)";
        assert_eq!(e, expected);
    }

    #[test]
    fn gzipped_files_are_found_and_a_plain_one_before_them() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let gz = ["t10k-images.idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"];
        put(&base.join("a/mnist"), gz, 6);
        assert_eq!(first(&MNIST, base, &[("JARZYNSKI_DATA", "a")]), Ok(6.0));
        put(&base.join("a/mnist"), PLAIN, 7);
        assert_eq!(first(&MNIST, base, &[("JARZYNSKI_DATA", "a")]), Ok(7.0));
    }

    #[test]
    fn files_of_which_set_nobody_can_tell_are_refused_and_so_is_a_pair_from_two_folders() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        put(&base.join("bare"), PLAIN, 1);
        let e = first(&MNIST, base, &[("JARZYNSKI_DATA", "bare")]).unwrap_err();
        let expected = "B/bare: named by JARZYNSKI_DATA: expected files of mnist in a folder mnist, found t10k files with \
                        other labels";
        assert_eq!(e, expected);
        put(&base.join("half/mnist"), PLAIN, 1);
        put(&base.join("half/MNIST"), PLAIN, 2);
        fs::remove_file(base.join("half/mnist").join(PLAIN[1])).unwrap();
        let e = first(&MNIST, base, &[("JARZYNSKI_DATA", "half")]).unwrap_err();
        let expected = "B/half/mnist/t10k-images-idx3-ubyte: its folder: expected t10k-labels-idx1-ubyte beside it (or \
                        with a point for the second dash, or .gz)";
        assert_eq!(e, expected);
    }

    #[test]
    fn a_missing_file_is_named_with_the_places_and_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let e = first(&FASHION, folder.path(), &[("XDG_CACHE_HOME", "x")]).unwrap_err();
        let expected = "t10k-images-idx3-ubyte: not in datasets/downloaded/fashion, B/x/jarzynski/datasets/fashion: expected \
                        this file: `make datasets` in the library's repository fetches it, JARZYNSKI_DATA names a folder \
                        that has it";
        assert_eq!(e, expected);
        let e = first(&FASHION, folder.path(), &[("HOME", "h")]).unwrap_err();
        assert!(e.contains("B/h/.cache/jarzynski/datasets/fashion"), "{e}");
    }
}
