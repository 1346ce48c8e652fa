//! Find the first place at which two JSON values differ, for messages that name it.

use serde_json::Value;
use std::collections::BTreeSet;

/// Where two values differ (keys joined by dots, list entries by number), and what each holds there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub place: String,
    pub first: Value,
    pub second: Value,
}

/// The first difference in the order of the keys; a key that is missing counts as null.
pub(crate) fn difference(first: &Value, second: &Value) -> Option<Difference> {
    below(String::new(), first, second)
}

fn below(place: String, first: &Value, second: &Value) -> Option<Difference> {
    let join = |key: &str| if place.is_empty() { key.to_string() } else { format!("{place}.{key}") };
    match (first, second) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let of = |map: &serde_json::Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or_default();
            keys.into_iter().find_map(|key| below(join(key), &of(a, key), &of(b, key)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| below(join(&i.to_string()), a, b))
        }
        _ if first == second => None,
        _ => Some(Difference { place, first: first.clone(), second: second.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_place_and_both_values_are_named() {
        let a = json!({ "model": "Mlp", "sigma": [1.0, 0.5], "more": { "side": 8 } });
        assert_eq!(difference(&a, &a), None);
        let place = |b: Value| difference(&a, &b).map(|d| (d.place, d.first, d.second)).unwrap();
        let mut b = a.clone();
        b["sigma"][1] = json!(2.0);
        assert_eq!(place(b), ("sigma.1".into(), json!(0.5), json!(2.0)));
        let mut b = a.clone();
        b["more"] = json!({});
        assert_eq!(place(b), ("more.side".into(), json!(8), Value::Null));
        let mut b = a.clone();
        b["sigma"] = json!([1.0]);
        assert_eq!(place(b), ("sigma".into(), json!([1.0, 0.5]), json!([1.0])));
    }
}
