//! The schema of what pipewright writes as JSON: what fits it, and which of it was seen.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// The file that `pipewright schema` prints.
pub(crate) const TEXT: &str = include_str!("../../src/export/json/schema.json");

/// The schema, and what has been seen of it.
pub(crate) struct Schema {
    root: Value,
    /// By form and field: whether it had a value, and whether it was null.
    pub(crate) seen: BTreeMap<(String, String), (bool, bool)>,
}

impl Schema {
    pub(crate) fn new() -> Self {
        Self {
            root: serde_json::from_str(TEXT).unwrap(),
            seen: BTreeMap::new(),
        }
    }

    /// The forms by their names.
    pub(crate) fn forms(&self) -> &Map<String, Value> {
        self.root["$defs"].as_object().unwrap()
    }

    /// What a value of this form has to fit.
    pub(crate) fn validator(&self, form: &str) -> Validator {
        let schema = json!({"$ref": format!("#/$defs/{form}"), "$defs": self.root["$defs"]});
        jsonschema::validator_for(&schema).unwrap()
    }

    /// Checks that a value fits, and that it no longer does with a field more or less, wherever.
    pub(crate) fn check(&mut self, form: &str, value: &Value) {
        let validator = self.validator(form);
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{form}: {errors:#?}\n{value:#}");
        self.see(form, value);
        for changed in changed(value) {
            let what = "a field too many or too few, and it still fits";
            assert!(!validator.is_valid(&changed), "{form}: {what}: {changed:#}");
        }
    }

    /// Takes note of the fields that a value has.
    fn see(&mut self, form: &str, value: &Value) {
        let schema = self.root["$defs"][form].clone();
        let variants = schema["oneOf"].as_array().cloned();
        let fits = |variant: &&Value| {
            let kind = &variant["properties"]["kind"]["const"];
            variants.is_none() || value["kind"] == *kind
        };
        let schemas = variants.clone().unwrap_or_else(|| vec![schema]);
        let Some(schema) = schemas.iter().find(fits) else {
            return;
        };
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let Some(inner) = value.get(name) else {
                continue;
            };
            let key = (form.to_owned(), name.clone());
            let seen = self.seen.entry(key).or_default();
            seen.0 |= !inner.is_null();
            seen.1 |= inner.is_null();
            if let Some(form) = form_of(field) {
                self.see(&form, inner);
            }
            if let (Some(form), Some(items)) = (form_of(&field["items"]), inner.as_array()) {
                items.iter().for_each(|item| self.see(&form, item));
            }
        }
    }
}

/// The form that a field has, be it one that may be null.
pub(crate) fn form_of(field: &Value) -> Option<String> {
    let direct = field["$ref"].as_str();
    let or_null = field["anyOf"][0]["$ref"].as_str();
    let name = direct.or(or_null)?.strip_prefix("#/$defs/")?;
    Some(name.to_owned())
}

/// A field that may be null.
pub(crate) fn may_be_null(field: &Value) -> bool {
    field["type"][1] == "null" || field["anyOf"][1]["type"] == "null"
}

/// The value with a field more in one of its objects, or with one less of those that have to be there.
fn changed(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert("unheard_of".to_owned(), Value::Null);
            all.push(Value::Object(more));
            for (name, inner) in fields {
                let mut less = fields.clone();
                less.remove(name);
                if name != "figures" {
                    all.push(Value::Object(less.clone()));
                }
                for inner in changed(inner) {
                    less.insert(name.clone(), inner);
                    all.push(Value::Object(less.clone()));
                }
            }
        }
        Value::Array(items) => {
            // Those behind the first have the same form.
            for inner in items.first().map(changed).unwrap_or_default() {
                let mut items = items.clone();
                items[0] = inner;
                all.push(Value::Array(items));
            }
        }
        _ => {}
    }
    all
}
