//! How keys, roles, users and tokens print: the JSON of `--output json`, which `docs/program.md` describes, and the fields of tables.

use std::collections::BTreeMap;

use hsm_client::lifecycle::State;
use hsm_client::{KeyInfo, RoleAssignment, RoleDefinition, TokenInfo, UserInfo};
use hsm_core::{Jwk, Origin};
use serde::Serialize;

use super::Result;
use super::output::Show;
use super::when::now;

/// A key version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyView {
    name: String,
    version: String,
    r#type: &'static str,
    usages: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    state: &'static str,
    enabled: bool,
    exportable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_state: Option<String>,
    origin: &'static str,
    created: String,
    updated: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<Jwk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purge_at: Option<String>,
}

impl KeyView {
    pub(crate) fn new(info: &KeyInfo) -> Result<Self> {
        let attributes = &info.attributes;
        Ok(Self {
            name: info.name.to_string(),
            version: info.version.to_string(),
            r#type: attributes.spec.key_type.name(),
            usages: attributes
                .spec
                .usages
                .iter()
                .map(|usage| usage.name())
                .collect(),
            algorithm: attributes.spec.algorithm.map(|algorithm| algorithm.name()),
            state: attributes.state_at(now()).name(),
            enabled: !matches!(
                attributes.state,
                State::PreActivation | State::Suspended | State::Destroyed
            ),
            exportable: attributes.spec.exportable,
            boot_state: attributes.spec.boot_state.map(|pcrs| pcrs.to_string()),
            origin: match attributes.origin {
                Origin::Imported => "imported",
                _ => "generated",
            },
            created: attributes.created.to_string(),
            updated: attributes.updated.to_string(),
            not_before: attributes.not_before.map(|time| time.to_string()),
            expires: attributes.expires.map(|time| time.to_string()),
            tags: attributes.tags.as_map().clone(),
            public_key: match &info.public {
                Some(key) => Some(key.to_jwk()?),
                None => None,
            },
            deleted: info.deletion.map(|deletion| deletion.deleted.to_string()),
            purge_at: info.deletion.map(|deletion| deletion.purge_at.to_string()),
        })
    }

    pub(crate) fn all(infos: &[KeyInfo]) -> Result<Vec<Self>> {
        infos.iter().map(Self::new).collect()
    }
}

impl Show for KeyView {
    const COLUMNS: &'static [&'static str] =
        &["name", "version", "type", "state", "expires", "purged"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        let tags: Vec<_> = self
            .tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        vec![
            ("name", self.name.clone()),
            ("version", self.version.clone()),
            ("type", self.r#type.to_owned()),
            ("usages", self.usages.join(" ")),
            (
                "algorithm",
                self.algorithm.map(str::to_owned).unwrap_or_default(),
            ),
            ("state", self.state.to_owned()),
            (
                "exportable",
                if self.exportable { "yes" } else { "no" }.to_owned(),
            ),
            (
                "boot state",
                self.boot_state
                    .as_ref()
                    .map_or_else(String::new, |pcrs| format!("PCRs {pcrs}")),
            ),
            ("origin", self.origin.to_owned()),
            ("created", self.created.clone()),
            ("updated", self.updated.clone()),
            ("not before", self.not_before.clone().unwrap_or_default()),
            ("expires", self.expires.clone().unwrap_or_default()),
            ("tags", tags.join(" ")),
            ("deleted", self.deleted.clone().unwrap_or_default()),
            ("purged", self.purge_at.clone().unwrap_or_default()),
        ]
    }
}

/// What a key made: a signature, a ciphertext, a wrapped key, with the version that made it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MadeView {
    pub(crate) key: String,
    pub(crate) version: Option<String>,
    pub(crate) algorithm: &'static str,
    /// Base64url without padding, as everything here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    /// The file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
}

/// A role definition.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoleView {
    id: String,
    name: String,
    built_in: bool,
    description: String,
    actions: Vec<&'static str>,
}

impl RoleView {
    pub(crate) fn new(role: &RoleDefinition) -> Self {
        Self {
            id: role.id.to_string(),
            name: role.name.clone(),
            built_in: hsm_client::BuiltInRole::ALL
                .iter()
                .any(|built_in| built_in.id() == role.id),
            description: role.description.clone(),
            actions: role.actions.iter().map(|action| action.name()).collect(),
        }
    }
}

impl Show for RoleView {
    const COLUMNS: &'static [&'static str] = &["name", "id", "built in"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("id", self.id.clone()),
            (
                "built in",
                if self.built_in { "yes" } else { "no" }.to_owned(),
            ),
            ("description", self.description.clone()),
            ("actions", self.actions.join("\n")),
        ]
    }
}

/// A role assignment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssignmentView {
    id: String,
    principal: String,
    role: String,
    role_name: Option<String>,
    scope: String,
    created: String,
}

impl AssignmentView {
    pub(crate) fn new(assignment: &RoleAssignment, roles: &[RoleDefinition]) -> Self {
        Self {
            id: assignment.id.to_string(),
            principal: assignment.principal.to_string(),
            role: assignment.role.to_string(),
            role_name: roles
                .iter()
                .find(|role| role.id == assignment.role)
                .map(|role| role.name.clone()),
            scope: assignment.scope.to_string(),
            created: assignment.created.to_string(),
        }
    }
}

impl Show for AssignmentView {
    const COLUMNS: &'static [&'static str] = &["principal", "role", "scope", "id"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("principal", self.principal.clone()),
            (
                "role",
                self.role_name.clone().unwrap_or_else(|| self.role.clone()),
            ),
            ("scope", self.scope.clone()),
            ("created", self.created.clone()),
            ("id", self.id.clone()),
        ]
    }
}

/// A user.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserView {
    name: String,
    enabled: bool,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<String>,
}

impl UserView {
    pub(crate) fn new(user: &UserInfo) -> Self {
        Self {
            name: user.name.to_string(),
            enabled: user.enabled,
            created: user.created.to_string(),
            locked_until: user.locked_until.map(|time| time.to_string()),
        }
    }
}

impl Show for UserView {
    const COLUMNS: &'static [&'static str] = &["name", "enabled", "created", "locked until"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            (
                "enabled",
                if self.enabled { "yes" } else { "no" }.to_owned(),
            ),
            ("created", self.created.clone()),
            (
                "locked until",
                self.locked_until.clone().unwrap_or_default(),
            ),
        ]
    }
}

/// An API token, without the token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenView {
    name: String,
    principal: String,
    created: String,
    expires: String,
}

impl TokenView {
    pub(crate) fn new(token: &TokenInfo) -> Self {
        Self {
            name: token.name.to_string(),
            principal: token.principal.to_string(),
            created: token.created.to_string(),
            expires: token.expires.to_string(),
        }
    }
}

impl Show for TokenView {
    const COLUMNS: &'static [&'static str] = &["name", "principal", "created", "expires"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("principal", self.principal.clone()),
            ("created", self.created.clone()),
            ("expires", self.expires.clone()),
        ]
    }
}
