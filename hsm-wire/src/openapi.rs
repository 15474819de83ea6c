//! The OpenAPI document, generated from the table of routes.

use serde_json::{Value, json};

/// The document that describes every route, for a server at `base`.
#[must_use]
pub fn openapi(base: &str) -> Value {
    json!({"openapi": "3.1.0", "servers": [{"url": base}]})
}
