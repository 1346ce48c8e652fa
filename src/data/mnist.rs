//! Find MNIST and Fashion-MNIST where `make datasets` or the user put them.

use std::env;
use std::path::PathBuf;

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
/// The four IDX files, plain or with `.gz`, are looked for in `$JARZYNSKI_DATA/mnist`, in `datasets/downloaded/mnist`
/// of the repository, and in `datasets/mnist` of the cache folder (`$JARZYNSKI_CACHE`, else `jarzynski` in
/// `$XDG_CACHE_HOME` or `~/.cache`), where `make datasets` puts them.
///
/// # Errors
/// [`Error::Data`] that says `make datasets` if a file is nowhere, else the errors of [`read_idx_pair`].
pub fn mnist(split: Split) -> Result<Dataset> {
    load("mnist", split, &folders("mnist"))
}

/// Fashion-MNIST, a drop-in replacement for [`mnist`]: ten classes of clothes, looked for in `fashion` instead.
///
/// # Errors
/// Those of [`mnist`].
pub fn fashion_mnist(split: Split) -> Result<Dataset> {
    load("fashion", split, &folders("fashion"))
}

fn load(name: &str, split: Split, folders: &[PathBuf]) -> Result<Dataset> {
    let part = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let images = find(folders, &format!("{part}-images-idx3-ubyte"))?;
    let labels = find(folders, &format!("{part}-labels-idx1-ubyte"))?;
    let data = read_idx_pair(&images, &labels)?;
    if data.shape != [28, 28] {
        return Err(Error::data(images, "byte 8", format!("images of 28 × 28 pixels, found {:?}", data.shape)));
    }
    Ok(Dataset { name: name.into(), ..data })
}

fn find(folders: &[PathBuf], file: &str) -> Result<PathBuf> {
    let candidates = folders.iter().flat_map(|folder| [folder.join(file), folder.join(format!("{file}.gz"))]);
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Error::data(file, format!("not in {}", looked.join(", ")), "this file, which `make datasets` fetches")
    })
}

fn folders(name: &str) -> Vec<PathBuf> {
    // as in a shell's ${NAME:-…}, an empty variable is an absent one
    let var = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("JARZYNSKI_CACHE").or_else(|| {
        let caches = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")))?;
        Some(caches.join("jarzynski"))
    });
    let own = var("JARZYNSKI_DATA").map(|data| data.join(name));
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("datasets/downloaded").join(name);
    let cached = cache.map(|cache| cache.join("datasets").join(name));
    own.into_iter().chain([repository]).chain(cached).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_with_the_folders_and_the_cure() {
        let e = load("mnist", Split::Test, &["a/mnist".into(), "b/mnist".into()]).unwrap_err().to_string();
        assert_eq!(
            e,
            "t10k-images-idx3-ubyte: not in a/mnist, b/mnist: expected this file, which `make datasets` fetches"
        );
    }

    #[test]
    fn the_first_folder_wins_and_a_plain_file_before_a_gzipped_one() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [a.path().to_path_buf(), b.path().to_path_buf()];
        std::fs::write(b.path().join("f"), "").unwrap();
        assert_eq!(find(&folders, "f").unwrap(), b.path().join("f"));
        std::fs::write(a.path().join("f.gz"), "").unwrap();
        assert_eq!(find(&folders, "f").unwrap(), a.path().join("f.gz"));
        std::fs::write(a.path().join("f"), "").unwrap();
        assert_eq!(find(&folders, "f").unwrap(), a.path().join("f"));
    }
}
