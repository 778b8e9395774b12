//! Patches as `openclaw config patch` takes them: objects merge, everything else is replaced. Pure.

use serde_json::{Map, Value, json};

/// Puts a value into a patch, with the objects above it.
pub(super) fn put(patch: &mut Map<String, Value>, path: &[&str], value: Value) {
    let [parents @ .., last] = path else {
        return;
    };
    let mut fields = patch;
    for key in parents {
        let next = fields.entry(*key).or_insert_with(|| json!({}));
        // No value is put below another that is no object.
        let Value::Object(next) = next else { return };
        fields = next;
    }
    fields.insert((*last).to_owned(), value);
}

/// The path of a value that is no object where the patch has one.
pub(super) fn in_the_way(value: &Value, patch: &Value) -> Option<String> {
    let (Value::Object(fields), Value::Object(patch)) = (value, patch) else {
        return patch.is_object().then(String::new);
    };
    patch.iter().find_map(|(key, patch)| {
        let rest = in_the_way(fields.get(key)?, patch)?;
        Some(match rest.is_empty() {
            true => key.clone(),
            false => format!("{key}.{rest}"),
        })
    })
}

/// The value with the patch applied as OpenClaw applies it.
pub(super) fn patched(value: &Value, patch: &Value) -> Value {
    let (Value::Object(fields), Value::Object(patch)) = (value, patch) else {
        return patch.clone();
    };
    let mut out = fields.clone();
    for (key, patch) in patch {
        let value = match fields.get(key) {
            Some(old) => patched(old, patch),
            None => patch.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}
