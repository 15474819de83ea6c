//! Role definitions and assignments, as Managed HSM local RBAC writes them.

use hsm_core::policy::{
    ActionSet, BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId, Scope,
};
use hsm_core::{Principal, Request, Response, Result, Timestamp};
use serde::Deserialize;

use super::SHORT_LEN;
use crate::Body;
use crate::json::Json;
use crate::read::{self, Text, invalid, required};

/// In front of the id of a role definition.
const DEFINITION_PREFIX: &str =
    "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/";

/// In front of the id of a role assignment.
const ASSIGNMENT_PREFIX: &str = "/providers/Microsoft.Authorization/roleAssignments/";

/// Room for one role.
const ROLE_LEN: usize = 4096;

/// The path of role definitions and assignments after the scope.
pub(crate) const DEFINITIONS: &str = "roleDefinitions";
/// As [`DEFINITIONS`].
pub(crate) const ASSIGNMENTS: &str = "roleAssignments";

#[derive(Deserialize)]
struct DefinitionIn<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    properties: Option<DefinitionProperties<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefinitionProperties<'a> {
    #[serde(borrow)]
    role_name: Option<Text<'a>>,
    #[serde(borrow)]
    description: Option<Text<'a>>,
    #[serde(borrow)]
    permissions: Option<Vec<Permission<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Permission<'a> {
    #[serde(borrow)]
    data_actions: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    not_data_actions: Option<Vec<Text<'a>>>,
}

impl DefinitionProperties<'_> {
    /// What the permissions allow, each without what it takes away.
    fn actions(&self) -> Result<ActionSet> {
        let mut all = ActionSet::NONE;
        for permission in self.permissions.iter().flatten() {
            let allowed = actions(permission.data_actions.as_deref())?;
            let not = actions(permission.not_data_actions.as_deref())?;
            all = all.union(allowed.without(not));
        }
        Ok(all)
    }

    fn description(&self) -> &str {
        self.description.as_ref().map_or("", Text::as_str)
    }
}

fn actions(names: Option<&[Text<'_>]>) -> Result<ActionSet> {
    let names = names.unwrap_or_default();
    names
        .iter()
        .map(|name| name.as_str().parse::<DataAction>())
        .collect()
}

pub(crate) fn read_definition(id: RoleId, body: &[u8]) -> Result<Request<'static>> {
    let definition: DefinitionIn<'_> = read::object(body)?;
    let properties = required("properties", definition.properties)?;
    // A client that gives no name means the id.
    let name = match properties.role_name.as_ref().map(Text::as_str) {
        None | Some("") => id.to_string(),
        Some(name) => name.to_owned(),
    };
    let actions = properties.actions()?;
    let definition = RoleDefinition::new(id, name, properties.description(), actions)?;
    Ok(Request::PutRoleDefinition { definition })
}

/// Written alike in both directions.
pub(crate) fn definition(role: &RoleDefinition) -> Body {
    let mut json = Json::with_capacity(ROLE_LEN);
    write_definition(&mut json, role);
    json.finish()
}

pub(crate) fn definitions(roles: &[RoleDefinition], name: Option<&str>) -> Body {
    let roles = roles
        .iter()
        .filter(|role| name.is_none_or(|name| role.name == name));
    Json::object_of(ROLE_LEN, |json| {
        json.name("value").array(roles, write_definition);
    })
}

fn write_definition(json: &mut Json, role: &RoleDefinition) {
    let built_in = BuiltInRole::ALL.iter().any(|known| known.id() == role.id);
    let id = role.id.to_string();
    json.object(|json| {
        json.name("id").pieces(&[DEFINITION_PREFIX, &id]);
        json.name("name").text(&id);
        json.name("type")
            .text("Microsoft.Authorization/roleDefinitions");
        json.name("properties").object(|json| {
            json.name("roleName").text(&role.name);
            json.name("description").text(&role.description);
            json.name("type").text(if built_in {
                "AKVBuiltInRole"
            } else {
                "CustomRole"
            });
            json.name("assignableScopes").array(["/"], Json::text);
            json.name("permissions").array([role], |json, role| {
                json.object(|json| {
                    json.name("actions").array([""; 0], Json::text);
                    json.name("notActions").array([""; 0], Json::text);
                    let actions = role.actions.iter().map(DataAction::name);
                    json.name("dataActions").array(actions, Json::text);
                    json.name("notDataActions").array([""; 0], Json::text);
                });
            });
        });
    });
}

#[derive(Deserialize)]
struct DefinitionsIn<'a> {
    #[serde(borrow)]
    value: Vec<DefinitionIn<'a>>,
}

impl DefinitionIn<'_> {
    fn definition(&self) -> Result<RoleDefinition> {
        let name = self.name.as_ref().or(self.id.as_ref());
        let id = id_at_end(required("name", name)?.as_str())?;
        let properties = required("properties", self.properties.as_ref())?;
        // The built-in ones cannot be made anew, so one of them lends its shape.
        let mut definition = RoleDefinition::from(BuiltInRole::Backup);
        definition.id = id;
        definition.name = properties
            .role_name
            .as_ref()
            .map_or("", Text::as_str)
            .to_owned();
        definition.description = properties.description().to_owned();
        // Actions of the real service that we do not know allow nothing here.
        definition.actions = properties
            .permissions
            .iter()
            .flatten()
            .flat_map(|permission| permission.data_actions.iter().flatten())
            .filter_map(|name| name.as_str().parse::<DataAction>().ok())
            .collect();
        Ok(definition)
    }
}

pub(crate) fn read_definitions(body: &[u8]) -> Result<Response> {
    let page: DefinitionsIn<'_> = read::object(body)?;
    let roles = page.value.iter().map(DefinitionIn::definition);
    Ok(Response::RoleDefinitions(roles.collect::<Result<_>>()?))
}

pub(crate) fn read_definition_reply(body: &[u8]) -> Result<Response> {
    let definition: DefinitionIn<'_> = read::object(body)?;
    let definition = definition.definition()?;
    Ok(Response::RoleDefinition(Box::new(definition)))
}

/// The id with which an address ends.
fn id_at_end(text: &str) -> Result<RoleId> {
    text.rsplit('/').next().unwrap_or_default().parse()
}

#[derive(Deserialize)]
struct AssignmentIn<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    properties: Option<AssignmentProperties<'a>>,
    hsm: Option<AssignmentHsm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssignmentProperties<'a> {
    #[serde(borrow)]
    role_definition_id: Option<Text<'a>>,
    #[serde(borrow)]
    principal_id: Option<Text<'a>>,
    #[serde(borrow)]
    scope: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct AssignmentHsm {
    created: u64,
}

impl AssignmentProperties<'_> {
    fn role(&self) -> Result<RoleId> {
        let member = "properties.roleDefinitionId";
        id_at_end(required(member, self.role_definition_id.as_ref())?.as_str())
    }

    fn principal(&self) -> Result<Principal> {
        let member = "properties.principalId";
        Principal::new(required(member, self.principal_id.as_ref())?.as_str())
    }

    fn scope(&self) -> Result<Scope> {
        let scope = required("properties.scope", self.scope.as_ref())?;
        match scope.as_str() {
            "" => Ok(Scope::Global),
            scope => scope.parse(),
        }
    }
}

pub(crate) fn read_assignment(scope: &Scope, id: RoleId, body: &[u8]) -> Result<Request<'static>> {
    let assignment: AssignmentIn<'_> = read::object(body)?;
    let properties = required("properties", assignment.properties)?;
    if properties.scope.is_some() && properties.scope()? != *scope {
        return Err(invalid(
            "`properties.scope` is another than that of the path",
        ));
    }
    Ok(Request::CreateRoleAssignment {
        id: Some(id),
        role: properties.role()?,
        principal: properties.principal()?,
        scope: scope.clone(),
    })
}

pub(crate) fn read_new_assignment(body: &[u8]) -> Result<Request<'static>> {
    let assignment: AssignmentIn<'_> = read::object(body)?;
    let properties = required("properties", assignment.properties)?;
    Ok(Request::CreateRoleAssignment {
        id: None,
        role: properties.role()?,
        principal: properties.principal()?,
        scope: properties.scope()?,
    })
}

/// What the client sends. The scope is in the path unless the HSM chooses the id.
pub(crate) fn new_assignment(role: RoleId, principal: &Principal, scope: Option<&Scope>) -> Body {
    Json::object_of(SHORT_LEN, |json| {
        json.name("properties").object(|json| {
            json.name("roleDefinitionId")
                .pieces(&[DEFINITION_PREFIX, &role.to_string()]);
            json.name("principalId").text(principal.as_str());
            if let Some(scope) = scope {
                json.name("scope").shown(scope);
            }
        });
    })
}

pub(crate) fn assignment(assignment: &RoleAssignment) -> Body {
    let mut json = Json::with_capacity(SHORT_LEN);
    write_assignment(&mut json, assignment);
    json.finish()
}

pub(crate) fn assignments(assignments: &[RoleAssignment], of: Option<&Principal>) -> Body {
    let kept = assignments
        .iter()
        .filter(|assignment| of.is_none_or(|principal| assignment.principal == *principal));
    Json::object_of(SHORT_LEN * (1 + assignments.len()), |json| {
        json.name("value").array(kept, write_assignment);
    })
}

fn write_assignment(json: &mut Json, assignment: &RoleAssignment) {
    let id = assignment.id.to_string();
    json.object(|json| {
        json.name("id").pieces(&[ASSIGNMENT_PREFIX, &id]);
        json.name("name").text(&id);
        json.name("type")
            .text("Microsoft.Authorization/roleAssignments");
        json.name("properties").object(|json| {
            let role = assignment.role.to_string();
            json.name("roleDefinitionId")
                .pieces(&[DEFINITION_PREFIX, &role]);
            json.name("principalId").text(assignment.principal.as_str());
            json.name("scope").shown(&assignment.scope);
        });
        json.name("hsm")
            .object(|json| json.name("created").millis(assignment.created));
    });
}

impl AssignmentIn<'_> {
    fn assignment(&self) -> Result<RoleAssignment> {
        let name = self.name.as_ref().or(self.id.as_ref());
        let properties = required("properties", self.properties.as_ref())?;
        let created = self.hsm.as_ref().map_or(0, |hsm| hsm.created);
        Ok(RoleAssignment::new(
            id_at_end(required("name", name)?.as_str())?,
            properties.role()?,
            properties.principal()?,
            properties.scope()?,
            Timestamp::from_unix_millis(created),
        ))
    }
}

#[derive(Deserialize)]
struct AssignmentsIn<'a> {
    #[serde(borrow)]
    value: Vec<AssignmentIn<'a>>,
}

pub(crate) fn read_assignments(body: &[u8]) -> Result<Response> {
    let page: AssignmentsIn<'_> = read::object(body)?;
    let assignments = page.value.iter().map(AssignmentIn::assignment);
    Ok(Response::RoleAssignments(
        assignments.collect::<Result<_>>()?,
    ))
}

pub(crate) fn read_assignment_reply(body: &[u8]) -> Result<Response> {
    let assignment: AssignmentIn<'_> = read::object(body)?;
    let assignment = assignment.assignment()?;
    Ok(Response::RoleAssignment(Box::new(assignment)))
}
