//! The OpenAPI document, generated from the table of routes.

use hsm_core::limits::{NAME_LEN_MAX, PAGE_LEN_DEFAULT, RANDOM_LEN_MAX, TAGS_MAX};
use hsm_core::{Algorithm, KeyType, Operation};
use serde_json::{Map, Value, json};

use crate::route::{Endpoint, endpoints};
use crate::{API_VERSION, API_VERSIONS};

/// The document that describes every route, for a server at `base` (OpenAPI 3.1).
///
/// ```
/// let document = hsm_wire::openapi("https://localhost:8443");
/// assert_eq!(document["paths"]["/rng"]["post"]["operationId"], "random");
/// ```
#[must_use]
pub fn openapi(base: &str) -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints() {
        for (at, path) in spellings(endpoint).into_iter().enumerate() {
            let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
            if let Value::Object(item) = item {
                item.insert(method(endpoint), operation(endpoint, &path, at));
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hsm",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The data plane of Key Vault and Managed HSM, and under /hsm/v1/ what goes beyond it.",
        },
        "servers": [{"url": base}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

/// Every path of a row, as OpenAPI can say it: a scope has slashes in it, which a parameter cannot.
fn spellings(endpoint: &Endpoint) -> Vec<String> {
    let paths = [endpoint.path]
        .into_iter()
        .chain(endpoint.also.iter().copied());
    paths
        .map(|path| path.trim_end_matches("/{...}"))
        .flat_map(|path| match path.strip_prefix("/{scope}") {
            Some(rest) => ["", "/keys", "/keys/{name}"]
                .map(|scope| format!("{scope}{rest}"))
                .to_vec(),
            None => vec![path.to_owned()],
        })
        .collect()
}

fn method(endpoint: &Endpoint) -> String {
    match endpoint.method {
        "*" => "get".to_owned(),
        method => method.to_lowercase(),
    }
}

fn operation(endpoint: &Endpoint, path: &str, at: usize) -> Value {
    let name = endpoint.operation;
    let id = match at {
        0 => name.to_owned(),
        at => format!("{name}_{}", at + 1),
    };
    let group = match path.split('/').nth(1).unwrap_or_default() {
        "hsm" => "hsm",
        _ if endpoint.is_server() => "server",
        "deletedkeys" => "keys",
        _ if path.contains("Microsoft.Authorization") => "roles",
        other => other,
    };
    let mut operation = json!({
        "operationId": id,
        "tags": [group],
        "parameters": parameters(endpoint, path),
        "responses": responses(endpoint),
    });
    if let Some(schema) = body(name) {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    if matches!(name, "health" | "ready" | "login" | "openapi") {
        operation["security"] = json!([]);
    }
    operation
}

fn parameters(endpoint: &Endpoint, path: &str) -> Vec<Value> {
    let name = json!({"type": "string", "pattern": format!("^[0-9a-zA-Z-]{{1,{NAME_LEN_MAX}}}$")});
    let mut parameters = Vec::new();
    for part in path.split('/') {
        let Some(parameter) = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        else {
            continue;
        };
        let schema = match parameter {
            "version" | "stream" => json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
            "id" => json!({"type": "string", "format": "uuid"}),
            "setting" => json!({"type": "string", "enum": [
                "AllowKeyManagementOperationsThroughARM", "SoftDeleteRetentionInDays", "PurgeProtection",
                "DangerRsa15Decrypt",
            ]}),
            _ => name.clone(),
        };
        parameters
            .push(json!({"name": parameter, "in": "path", "required": true, "schema": schema}));
    }
    let mut query = |name: &str, required: bool, schema: Value| {
        parameters
            .push(json!({"name": name, "in": "query", "required": required, "schema": schema}));
    };
    if endpoint.needs_api_version() {
        let known = json!({"type": "string", "enum": API_VERSIONS, "default": API_VERSION});
        query("api-version", true, known);
    }
    let number = json!({"type": "integer", "minimum": 0});
    match endpoint.operation {
        "list_keys" | "list_versions" | "list_deleted_keys" | "list_users" | "list_tokens" => {
            let limit = json!({"type": "integer", "minimum": 1, "maximum": PAGE_LEN_DEFAULT});
            query("maxresults", false, limit);
            query(
                "$skiptoken",
                false,
                json!({"type": "string", "maxLength": NAME_LEN_MAX}),
            );
        }
        "list_role_definitions" | "list_role_assignments" => {
            let filters = json!({"type": "string", "enum": ["atScope()", "atScopeAndBelow()"]});
            query("$filter", false, filters);
        }
        "attestation" => {
            query(
                "nonce",
                true,
                json!({"type": "string", "format": "base64url"}),
            );
            query("pcrs", false, json!({"type": "string"}));
        }
        "read_audit" => {
            query("from", false, number.clone());
            query("limit", false, number);
        }
        _ => {}
    }
    parameters
}

fn responses(endpoint: &Endpoint) -> Value {
    let error = json!({
        "description": "What went wrong.",
        "content": {"application/json": {"schema": reference("Error")}},
    });
    if !endpoint.implemented {
        return json!({"501": error, "default": error});
    }
    let (status, schema) = answer(endpoint.operation);
    let mut done = json!({"description": "Done."});
    if let Some(schema) = schema {
        done["content"] = json!({"application/json": {"schema": schema}});
    }
    let mut responses = Map::new();
    responses.insert(status.to_owned(), done);
    responses.insert("default".to_owned(), error);
    Value::Object(responses)
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object whose first members must be there.
fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

fn algorithms(operations: &[Operation]) -> Value {
    let fits = |algorithm: &Algorithm| {
        operations.is_empty()
            || operations
                .iter()
                .any(|operation| algorithm.does(*operation))
    };
    let names = Algorithm::all()
        .filter(fits)
        .map(Algorithm::name)
        .collect::<Vec<_>>();
    json!({"type": "string", "enum": names})
}

/// What an operation reads. `None`: nothing.
fn body(operation: &str) -> Option<Value> {
    use Operation as O;
    let bytes = || reference("Binary");
    let text = || json!({"type": "string"});
    let password =
        || json!({"type": "string", "minLength": 8, "maxLength": 256, "format": "password"});
    let millis = || reference("Millis");
    let with_value = |operations: &[Operation]| {
        object(
            &["alg", "value"],
            json!({"alg": algorithms(operations), "value": bytes()}),
        )
    };
    let cipher = object(
        &["alg", "value"],
        json!({
            "alg": algorithms(&[O::Encrypt]), "value": bytes(), "iv": bytes(), "aad": bytes(), "tag": bytes(),
        }),
    );
    Some(match operation {
        "create_key" => reference("NewKey"),
        "import_key" => object(
            &["key"],
            json!({
                "Hsm": {"type": "boolean"}, "key": reference("PrivateJsonWebKey"),
                "attributes": reference("NewAttributes"), "tags": reference("Tags"),
            }),
        ),
        "import_wrapped_key" => json!({"allOf": [reference("NewKey"), object(
            &["wrapping", "alg", "value"],
            json!({
                "wrapping": text(), "alg": algorithms(&[]), "value": bytes(),
                "format": {"type": "string", "enum": ["bound", "bare"]},
            }),
        )]}),
        "export_key" => object(
            &["wrapping", "alg"],
            json!({"wrapping": text(), "alg": algorithms(&[])}),
        ),
        "update_key" => object(
            &[],
            json!({
                "key_ops": reference("KeyOps"), "attributes": reference("ChangedAttributes"), "tags": reference("Tags"),
            }),
        ),
        "set_rotation_policy" => reference("RotationPolicy"),
        "restore_key" => object(&["value"], json!({"value": bytes()})),
        "sign" => with_value(&[O::Sign, O::Mac]),
        "verify" => object(
            &["alg", "digest", "value"],
            json!({"alg": algorithms(&[O::Sign, O::Mac]), "digest": bytes(), "value": bytes()}),
        ),
        "mac" => with_value(&[O::Mac]),
        "verify_mac" => object(
            &["alg", "value", "tag"],
            json!({"alg": algorithms(&[O::Mac]), "value": bytes(), "tag": bytes()}),
        ),
        "encrypt" | "decrypt" => cipher,
        "wrap_key" | "unwrap_key" => with_value(&[O::Wrap]),
        "agree" => object(
            &["alg", "peer"],
            json!({"alg": algorithms(&[O::Agree]), "peer": reference("JsonWebKey")}),
        ),
        "derive" => object(
            &["alg", "length"],
            json!({
                "alg": algorithms(&[O::Derive]), "length": {"type": "integer", "minimum": 0}, "salt": bytes(),
                "info": bytes(),
            }),
        ),
        "encapsulate" => object(&["alg"], json!({"alg": algorithms(&[O::Encapsulate])})),
        "decapsulate" => with_value(&[O::Encapsulate]),
        "random" => object(
            &["count"],
            json!({"count": {"type": "integer", "minimum": 1, "maximum": RANDOM_LEN_MAX}}),
        ),
        "put_role_definition" => object(
            &["properties"],
            json!({"properties": reference("RoleDefinitionProperties")}),
        ),
        "put_role_assignment" | "create_role_assignment" => object(
            &["properties"],
            json!({"properties": reference("RoleAssignmentProperties")}),
        ),
        "update_setting" => object(&["value"], json!({"value": text()})),
        "create_user" => object(&["password"], json!({"password": password()})),
        "update_user" => json!({"oneOf": [
            object(&["password"], json!({"password": password()})),
            object(&["enabled"], json!({"enabled": {"type": "boolean"}})),
            object(&["locked"], json!({"locked": {"const": false}})),
        ]}),
        "create_token" => object(
            &["principal", "expires"],
            json!({"principal": text(), "expires": millis()}),
        ),
        "change_password" => object(
            &["old", "new"],
            json!({"old": password(), "new": password()}),
        ),
        "update_partition" => object(
            &[],
            json!({
                "retentionDays": {"type": "integer", "minimum": 7, "maximum": 90},
                "purgeProtection": {"type": "boolean"}, "dangerRsa15Decrypt": {"type": "boolean"},
            }),
        ),
        "zeroize" => object(&["confirm"], json!({"confirm": text()})),
        "login" => object(
            &["user", "password"],
            json!({"user": text(), "password": password()}),
        ),
        "advance_clock" => object(
            &["advance"],
            json!({"advance": {"type": "string", "examples": ["P90D"]}}),
        ),
        _ => return None,
    })
}

/// The status of success, and what is answered then.
fn answer(operation: &str) -> (&'static str, Option<Value>) {
    let list = |item: Value| {
        json!({"type": "object", "required": ["value"], "properties": {
            "value": {"type": "array", "items": item}, "nextLink": {"type": ["string", "null"]},
        }})
    };
    let binary = || {
        object(
            &["value"],
            json!({"kid": {"type": "string"}, "value": reference("Binary")}),
        )
    };
    match operation {
        "purge_key" => ("204", None),
        "create_key" | "import_key" | "import_wrapped_key" | "get_key" | "update_key"
        | "rotate_key" | "delete_key" | "get_deleted_key" | "recover_key" | "restore_key" => {
            ("200", Some(reference("KeyBundle")))
        }
        "list_keys" | "list_versions" | "list_deleted_keys" => {
            ("200", Some(list(reference("KeyItem"))))
        }
        "get_rotation_policy" | "set_rotation_policy" => ("200", Some(reference("RotationPolicy"))),
        "verify" | "verify_mac" => (
            "200",
            Some(object(&["value"], json!({"value": {"type": "boolean"}}))),
        ),
        "attestation" | "sign" | "mac" | "wrap_key" | "unwrap_key" | "decrypt" | "backup_key"
        | "random" | "agree" | "derive" | "encapsulate" | "decapsulate" | "export_key"
        | "encrypt" => ("200", Some(binary())),
        "put_role_definition" => ("201", Some(reference("RoleDefinition"))),
        "get_role_definition" | "delete_role_definition" => {
            ("200", Some(reference("RoleDefinition")))
        }
        "put_role_assignment" | "create_role_assignment" => {
            ("201", Some(reference("RoleAssignment")))
        }
        "get_role_assignment" | "delete_role_assignment" => {
            ("200", Some(reference("RoleAssignment")))
        }
        "list_role_definitions" => ("200", Some(list(reference("RoleDefinition")))),
        "list_role_assignments" => ("200", Some(list(reference("RoleAssignment")))),
        "create_user" | "create_token" | "login" => ("201", Some(json!({"type": "object"}))),
        "logout" => ("204", None),
        _ => ("200", Some(json!({"type": "object"}))),
    }
}

fn schemas() -> Value {
    let usages = hsm_core::Usages::from_bits(0xfff).unwrap_or_default();
    let usages = usages.iter().map(hsm_core::Usage::name).collect::<Vec<_>>();
    let curves = KeyType::all()
        .filter_map(|key_type| key_type.info().curve)
        .collect::<Vec<_>>();
    let seconds = || json!({"type": "integer", "minimum": 0, "maximum": 253_402_207_200_u64});
    let text = || json!({"type": "string"});
    let flag = || json!({"type": "boolean"});
    let kty = json!({"type": "string", "enum": [
        "EC", "EC-HSM", "RSA", "RSA-HSM", "OKP", "OKP-HSM", "AKP", "AKP-HSM", "oct", "oct-HSM",
    ]});
    let number = || reference("Binary");
    json!({
        "Binary": {"type": "string", "pattern": "^[A-Za-z0-9_-]*$", "description": "base64url without padding"},
        "Millis": {"type": "integer", "minimum": 0, "description": "Milliseconds since 1970."},
        "Tags": {"type": "object", "maxProperties": TAGS_MAX, "additionalProperties": {"type": "string", "maxLength": 256}},
        "KeyOps": {"type": "array", "items": {"type": "string", "enum": usages}},
        "NewAttributes": object(&[], json!({
            "enabled": flag(), "nbf": seconds(), "exp": seconds(), "exportable": flag(),
        })),
        "ChangedAttributes": object(&[], json!({"enabled": flag(), "nbf": seconds(), "exp": seconds()})),
        "Attributes": object(&["enabled", "created", "updated"], json!({
            "enabled": flag(), "nbf": seconds(), "exp": seconds(), "created": seconds(), "updated": seconds(),
            "exportable": flag(), "recoveryLevel": text(), "recoverableDays": {"type": "integer"},
        })),
        "NewKey": object(&["kty"], json!({
            "kty": kty, "crv": {"type": "string", "enum": curves},
            "key_size": {"type": "integer", "enum": [128, 192, 256, 384, 512, 2048, 3072, 4096]},
            "public_exponent": {"const": 65537}, "key_ops": reference("KeyOps"), "attributes": reference("NewAttributes"),
            "tags": reference("Tags"),
        })),
        "JsonWebKey": object(&["kty"], json!({
            "kid": text(), "kty": text(), "crv": text(), "key_ops": {"type": "array", "items": text()}, "n": number(),
            "e": number(), "x": number(), "y": number(), "pub": number(), "alg": text(),
        })),
        "PrivateJsonWebKey": object(&["kty"], json!({
            "kty": text(), "crv": text(), "key_ops": reference("KeyOps"), "n": number(), "e": number(), "d": number(),
            "p": number(), "q": number(), "dp": number(), "dq": number(), "qi": number(), "x": number(), "y": number(),
            "k": number(), "priv": number(), "pub": number(), "key_hsm": number(),
        })),
        "KeyBundle": object(&["key", "attributes"], json!({
            "key": reference("JsonWebKey"), "attributes": reference("Attributes"), "tags": reference("Tags"),
            "recoveryId": text(), "deletedDate": seconds(), "scheduledPurgeDate": seconds(), "hsm": {"type": "object"},
        })),
        "KeyItem": object(&["kid", "attributes"], json!({
            "kid": text(), "attributes": reference("Attributes"), "tags": reference("Tags"), "recoveryId": text(),
            "deletedDate": seconds(), "scheduledPurgeDate": seconds(), "hsm": {"type": "object"},
        })),
        "RotationPolicy": object(&[], json!({
            "id": text(),
            "lifetimeActions": {"type": "array", "maxItems": 2, "items": object(&["trigger", "action"], json!({
                "trigger": {"oneOf": [
                    object(&["timeAfterCreate"], json!({"timeAfterCreate": text()})),
                    object(&["timeBeforeExpiry"], json!({"timeBeforeExpiry": text()})),
                ]},
                "action": object(&["type"], json!({"type": {"type": "string", "enum": ["Rotate", "Notify"]}})),
            }))},
            "attributes": object(&[], json!({"expiryTime": text()})),
        })),
        "RoleDefinitionProperties": object(&["permissions"], json!({
            "roleName": text(), "description": text(), "type": text(), "assignableScopes": {"type": "array", "items": text()},
            "permissions": {"type": "array", "minItems": 1, "items": object(&[], json!({
                "dataActions": {"type": "array", "items": text()}, "notDataActions": {"type": "array", "items": text()},
            }))},
        })),
        "RoleDefinition": object(&["id", "name", "properties"], json!({
            "id": text(), "name": text(), "type": text(), "properties": reference("RoleDefinitionProperties"),
        })),
        "RoleAssignmentProperties": object(&["roleDefinitionId", "principalId"], json!({
            "roleDefinitionId": text(), "principalId": text(), "scope": text(),
        })),
        "RoleAssignment": object(&["id", "name", "properties"], json!({
            "id": text(), "name": text(), "type": text(), "properties": reference("RoleAssignmentProperties"),
        })),
        "Error": object(&["error"], json!({"error": object(&["code", "message"], json!({
            "code": text(), "message": text(), "innererror": object(&["code"], json!({"code": text()})),
        }))})),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Method;

    use super::*;

    /// What every row can be asked with.
    const QUERY: &str = "api-version=7.6&nonce=AAECAwQFBgc";

    use crate::Route;

    /// A path of the document with values in it.
    fn filled(path: &str) -> String {
        let values = [
            ("{name}", "a-key"),
            ("{version}", "0123456789abcdef0123456789abcdef"),
            ("{stream}", "0123456789abcdef0123456789abcdef"),
            ("{id}", "a290e904-7015-4bba-90c8-60543313cdb4"),
        ];
        let path = values.iter().fold(path.to_owned(), |path, (name, value)| {
            path.replace(name, value)
        });
        path.replace(['{', '}'], "")
    }

    #[test]
    fn the_document_says_what_the_table_says() {
        let document = openapi("https://localhost");
        let mut seen = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id} is there twice");
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let route = Route::parse(&method, &filled(path), Some(QUERY)).unwrap();
                let name = route.endpoint().operation;
                // Several rows may stand for one thing that is not there yet.
                if route.endpoint().implemented {
                    assert!(id.starts_with(name), "{method} {path} is {name}, not {id}");
                }
                seen.insert(
                    id.trim_end_matches(|c: char| c == '_' || c.is_ascii_digit())
                        .to_owned(),
                );
            }
        }
        let names = endpoints()
            .iter()
            .map(|endpoint| endpoint.operation.to_owned());
        assert_eq!(seen, names.collect());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(to)) = members.get("$ref") {
                        found.insert(to.trim_start_matches("#/components/schemas/").to_owned());
                    }
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = openapi("https://localhost");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert_eq!(found, schemas.keys().cloned().collect());
    }

    /// What needs a body says so, and what the schema demands is what the reader demands.
    #[test]
    fn an_empty_body_is_refused_where_the_document_has_one() {
        for endpoint in endpoints()
            .iter()
            .filter(|endpoint| endpoint.implemented && !endpoint.is_server())
        {
            let method = Method::from_bytes(endpoint.method.as_bytes()).unwrap();
            let path = filled(&spellings(endpoint)[0]);
            let route = Route::parse(&method, &path, Some(QUERY)).unwrap();
            let Route::Engine(route) = route else {
                unreachable!()
            };
            let refused = route.request(b"", &mut crate::Buffers::default()).is_err();
            assert_eq!(
                refused,
                body(endpoint.operation).is_some(),
                "{}",
                endpoint.operation
            );
        }
    }
}
