//! Write a model's parameters together with all that defines it, and refuse them for a model that is defined otherwise.

use crate::error::{Error, Result, no_grad};
use crate::io::{Checkpoint, difference};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor, nn};

/// Where the description lies among the file's JSON.
const MODEL: &str = "model";

/// What a model is: `model` (the name of its type), `dim` (the width of a row), `kind` of its numbers, `parameters` (names and
/// shapes) and its constants.
pub(crate) fn described(model: &str, dim: i64, vs: &nn::VarStore, constants: Value) -> Value {
    let variables = BTreeMap::from_iter(vs.variables());
    let kind = variables.values().next().map(|t| format!("{:?}", t.kind()));
    let shapes: Map<String, Value> = variables.into_iter().map(|(name, t)| (name, t.size().into())).collect();
    let mut all = Map::new();
    match constants {
        Value::Object(constants) => all.extend(constants),
        Value::Null => {}
        other => all.extend([("constants".to_string(), other)]),
    }
    all.extend([
        ("model".to_string(), model.into()),
        ("dim".to_string(), dim.into()),
        ("kind".to_string(), kind.into()),
        ("parameters".to_string(), shapes.into()),
    ]);
    all.into()
}

/// The name of a type without the modules that it is in.
pub(crate) fn type_name<T: ?Sized>() -> String {
    let parts = std::any::type_name::<T>().split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    parts.map(|part| part.rsplit("::").next().unwrap_or(part)).collect()
}

/// Writes parameters, the description of their model and constants that are tensors, completely or not at all.
pub(crate) fn write_model(
    path: &Path,
    vs: &nn::VarStore,
    description: &Value,
    constants: &[(&str, &Tensor)],
) -> Result<()> {
    let mut file = Checkpoint::default();
    put_parameters(vs, "", &mut file)?;
    constants.iter().for_each(|(name, t)| file.put(*name, t));
    file.put_json(MODEL, description)?;
    file.write(path)
}

/// Reads what [`write_model`] wrote, for the model that `description` describes.
///
/// # Errors
/// `Io` where there is no file; `Data` where it is no model's, or that of a model defined otherwise: the message names what
/// differs.
pub(crate) fn read_model(path: &Path, description: &Value) -> Result<Checkpoint> {
    let file = Checkpoint::read(path)?;
    let then: Value = file.json(MODEL)?;
    let of = |key: &str| difference(&json!({ key: then[key] }), &json!({ key: description[key] }));
    // another type of model differs in all else too
    match of("model").or_else(|| difference(&then, description)) {
        None => Ok(file),
        Some(d) => {
            let expected = format!("{}, as the model has that it is loaded into", d.second);
            Err(Error::data(path, format!("{} = {}", d.place, d.first), expected))
        }
    }
}

/// Copies into `vs` the parameters that a file or a checkpoint holds under `prefix`, all of them or none.
pub(crate) fn take_parameters(vs: &nn::VarStore, prefix: &str, from: &Checkpoint) -> Result<()> {
    let mut fresh = Vec::new();
    for (name, held) in vs.variables() {
        let t = from.get(&format!("{prefix}{name}"))?;
        if t.size() != held.size() {
            let expected = format!("{:?}, as parameter {name} of the model", held.size());
            return Err(Error::Shape { name: "saved parameter", got: t.size(), expected });
        }
        fresh.push((held, t));
    }
    no_grad(|| fresh.iter_mut().try_for_each(|(held, t)| held.f_copy_(t)))?;
    Ok(())
}

/// Puts all variables of a store under `prefix`.
///
/// # Errors
/// A parameter that is not finite.
pub(crate) fn put_parameters(vs: &nn::VarStore, prefix: &str, to: &mut Checkpoint) -> Result<()> {
    // in the order of their names: the one that an error names must not depend on the process
    for (name, t) in BTreeMap::from_iter(vs.variables()) {
        if !no_grad(|| t.sum(Kind::Double)).double_value(&[]).is_finite() {
            return Err(Error::NonFinite { what: "parameter of the model", place: format!("in {name}") });
        }
        to.put(format!("{prefix}{name}"), &t);
    }
    Ok(())
}

/// Puts all variables of a store into a checkpoint.
pub(crate) fn save_parameters(vs: &nn::VarStore, to: &mut Checkpoint) -> Result<()> {
    put_parameters(vs, "model.", to)
}

/// Takes up the parameters that a checkpoint holds.
pub(crate) fn restore_parameters(vs: &nn::VarStore, from: &Checkpoint) -> Result<()> {
    take_parameters(vs, "model.", from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_without_their_modules() {
        assert_eq!(type_name::<Checkpoint>(), "Checkpoint");
        assert_eq!(type_name::<std::collections::HashMap<String, Option<u8>>>(), "HashMap<String, Option<u8>>");
        assert_eq!(type_name::<&[std::path::PathBuf]>(), "&[PathBuf]");
    }
}
