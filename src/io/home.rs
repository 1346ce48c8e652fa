//! Replace `~` at the start of a path by the home folder, as a shell does.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The path with a first component `~` replaced by the home folder; `~name` is a file's name and stays.
///
/// # Errors
/// [`Error::Param`] where the path starts with `~` and the system names no home folder.
pub(crate) fn expand_home(path: &Path) -> Result<PathBuf> {
    expand(path, std::env::home_dir())
}

fn expand(path: &Path, home: Option<PathBuf>) -> Result<PathBuf> {
    let Ok(rest) = path.strip_prefix("~") else { return Ok(path.to_path_buf()) };
    match home.filter(|home| !home.as_os_str().is_empty()) {
        // joining nothing would append a separator
        Some(home) if rest.as_os_str().is_empty() => Ok(home),
        Some(home) => Ok(home.join(rest)),
        None => Err(Error::param("path", path.display(), "a home folder for ~, and `HOME` is not set")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_component_of_one_tilde_is_the_home_folder() {
        let at = |path: &str| expand(Path::new(path), Some("/home/me".into())).unwrap().display().to_string();
        assert_eq!(["~", "~/a/b", "~/"].map(at), ["/home/me", "/home/me/a/b", "/home/me"]);
        assert_eq!(["~you/a", "a/~/b", "./~", "/~", ""].map(at), ["~you/a", "a/~/b", "./~", "/~", ""]);
        for home in [None, Some(PathBuf::new())] {
            let e = expand(Path::new("~/a"), home.clone()).unwrap_err().to_string();
            assert_eq!(e, "path = ~/a: expected a home folder for ~, and `HOME` is not set");
            assert_eq!(expand(Path::new("b/a"), home).unwrap(), PathBuf::from("b/a"));
        }
    }
}
