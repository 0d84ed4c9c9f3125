//! The JSON Schema of the report, derived from the types that are printed.

use serde_json::Value;

use super::Report;

/// The schema. Every field is always printed, so every property is required, also where its value may be null.
#[must_use]
pub fn schema() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(Report)).unwrap_or_default();
    require_all(&mut schema);
    schema
}

fn require_all(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(require_all);
            if let Some(Value::Object(properties)) = map.get("properties") {
                let names = properties.keys().cloned().map(Value::String).collect();
                map.insert("required".to_owned(), Value::Array(names));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(require_all),
        _ => {}
    }
}
