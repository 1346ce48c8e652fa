//! Say in which folders data sets are looked for that are not part of the library.

use crate::error::{Error, Result};
use crate::io::expand_home;
use std::ffi::OsString;
use std::path::PathBuf;

/// Reads an environment variable.
pub(super) type Variables<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// As in a shell's `${NAME:-…}`, an empty variable is an absent one.
fn folder(var: &Variables, key: &str) -> Option<PathBuf> {
    var(key).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder that `JARZYNSKI_DATA` names, if it names one: data are then taken from there or not at all.
///
/// # Errors
/// `Data` where it is no folder.
pub(super) fn named_folder(var: &Variables) -> Result<Option<PathBuf>> {
    let Some(named) = folder(var, "JARZYNSKI_DATA") else { return Ok(None) };
    let named = expand_home(&named)?;
    if named.is_dir() {
        return Ok(Some(named));
    }
    let expected = "a folder (unset the variable to look in the usual places)";
    Err(Error::data(named, "named by JARZYNSKI_DATA", expected))
}

/// Where data sets are looked for otherwise: below the working directory, then in the cache.
///
/// # Errors
/// A `~` without a home.
pub(super) fn usual_places(var: &Variables) -> Result<Vec<PathBuf>> {
    let caches = || folder(var, "XDG_CACHE_HOME").or_else(|| folder(var, "HOME").map(|home| home.join(".cache")));
    let cache = match folder(var, "JARZYNSKI_CACHE") {
        Some(cache) => Some(expand_home(&cache)?),
        None => caches().map(|caches| caches.join("jarzynski")),
    };
    let places = [Some("datasets/downloaded".into()), cache.map(|cache| cache.join("datasets"))];
    Ok(places.into_iter().flatten().collect())
}
