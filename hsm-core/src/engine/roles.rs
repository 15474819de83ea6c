//! Role definitions and assignments: kept in memory as a whole, read again when one changes.

use std::collections::BTreeMap;

use super::Engine;
use super::ledger::Change;
use super::record;
use super::session::{Asked, Done};
use super::settings;
use super::tree::{Changes, Records, damaged};
use super::users;
use crate::error::{Error, ErrorKind, Result, limit};
use crate::limits::{
    ROLE_ASSIGNMENTS_GLOBAL_MAX, ROLE_ASSIGNMENTS_MAX, ROLE_ASSIGNMENTS_PER_KEY_MAX,
    ROLE_DEFINITIONS_MAX,
};
use crate::policy::{
    BuiltInRole, DataAction, Grants, Permit, RoleAssignment, RoleDefinition, RoleId, Scope,
};
use crate::request::{Response, Settings};
use crate::service::Principal;
use crate::store::Space;

/// Everything that decides who may do what.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) settings: Settings,
    definitions: BTreeMap<RoleId, RoleDefinition>,
    assignments: BTreeMap<RoleId, RoleAssignment>,
}

impl Default for Policy {
    /// The built-in roles, assigned to nobody.
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            definitions: BuiltInRole::ALL
                .iter()
                .map(|role| (role.id(), RoleDefinition::from(*role)))
                .collect(),
            assignments: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// Reads role definitions, assignments and settings.
    pub(super) fn read(records: &impl Records) -> Result<Self> {
        let mut policy = Self {
            settings: settings::read(records)?,
            ..Self::default()
        };
        for definition in
            read_all::<RoleDefinition>(records, Space::RoleDefinitions, ROLE_DEFINITIONS_MAX)?
        {
            policy.definitions.insert(definition.id, definition);
        }
        for assignment in
            read_all::<RoleAssignment>(records, Space::RoleAssignments, ROLE_ASSIGNMENTS_MAX)?
        {
            policy.assignments.insert(assignment.id, assignment);
        }
        Ok(policy)
    }

    /// What a principal may do.
    pub(super) fn grants(&self, principal: &Principal) -> Grants {
        Grants::compile(
            principal,
            |id| self.definitions.get(&id),
            self.assignments.values(),
        )
    }

    /// Checks that somebody could still assign roles if the assignments that `gone` picks were gone. Users who are disabled
    /// do not count; principals who are no users are identities of somebody else, and do.
    fn check_governed_without(
        &self,
        records: &impl Records,
        gone: impl Fn(&RoleAssignment) -> bool,
    ) -> Result<()> {
        let governors = self.assignments.values().filter(|assignment| {
            !gone(assignment)
                && assignment.scope == Scope::Global
                && self
                    .definitions
                    .get(&assignment.role)
                    .is_some_and(|role| role.actions.contains(DataAction::RoleAssignmentWrite))
        });
        for governor in governors {
            if users::may_log_in(records, &governor.principal)? {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "nobody could assign roles any more; give somebody else a role at / that allows it first",
        ))
    }
}

/// Checks that somebody could still assign roles without `principal`.
pub(super) fn check_governed_without(records: &impl Records, principal: &Principal) -> Result<()> {
    Policy::read(records)?
        .check_governed_without(records, |assignment| assignment.principal == *principal)
}

/// Takes all roles from `principal`.
pub(super) fn remove_assignments_of(
    changes: &mut Changes<'_>,
    principal: &Principal,
) -> Result<()> {
    let policy = Policy::read(changes)?;
    let of_principal = |assignment: &RoleAssignment| assignment.principal == *principal;
    policy.check_governed_without(changes, of_principal)?;
    for assignment in policy.assignments.values().filter(|a| of_principal(a)) {
        changes.remove(Space::RoleAssignments, &assignment.id.to_bytes())?;
    }
    Ok(())
}

impl Engine {
    pub(super) fn list_role_definitions(&self, _permit: &Permit) -> Result<Done> {
        let policy = self.0.policy.read();
        let built_in = BuiltInRole::ALL
            .iter()
            .map(|role| RoleDefinition::from(*role));
        let custom = policy
            .definitions
            .values()
            .filter(|definition| {
                BuiltInRole::ALL
                    .iter()
                    .all(|role| role.id() != definition.id)
            })
            .cloned();
        Ok(Done::read(Response::RoleDefinitions(
            built_in.chain(custom).collect(),
        )))
    }

    pub(super) async fn put_role_definition(
        &self,
        asked: Asked<'_>,
        definition: RoleDefinition,
    ) -> Result<Done> {
        // The fields are public: check them again.
        let definition = RoleDefinition::new(
            definition.id,
            definition.name,
            definition.description,
            definition.actions,
        )?;
        let change = Change::requested(
            asked.id,
            asked.principal,
            asked.permit,
            format!("/roleDefinitions/{}", definition.id),
        )
        .detail(definition.name.clone());
        let put = self
            .change(change, move |changes, _| {
                let mut policy = Policy::read(changes)?;
                let others = policy
                    .definitions
                    .values()
                    .filter(|other| other.id != definition.id);
                if others.clone().any(|other| other.name == definition.name) {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("there is a role `{}` already", definition.name),
                    ));
                }
                let custom = others.count() + 1 - BuiltInRole::ALL.len();
                if custom > ROLE_DEFINITIONS_MAX {
                    return Err(limit(
                        "the number of custom roles",
                        custom,
                        ROLE_DEFINITIONS_MAX,
                    ));
                }
                policy.definitions.insert(definition.id, definition.clone());
                policy.check_governed_without(changes, |_| false)?;
                changes.put(
                    Space::RoleDefinitions,
                    &definition.id.to_bytes(),
                    &record::to_bytes(&definition)?,
                )?;
                Ok(definition.clone())
            })
            .await?;
        Ok(Done::change(Response::RoleDefinition(Box::new(put))))
    }

    pub(super) async fn delete_role_definition(
        &self,
        asked: Asked<'_>,
        id: RoleId,
    ) -> Result<Done> {
        let change = Change::requested(
            asked.id,
            asked.principal,
            asked.permit,
            format!("/roleDefinitions/{id}"),
        )
        .detail("deleted");
        let gone = self
            .change(change, move |changes, _| {
                if BuiltInRole::ALL.iter().any(|role| role.id() == id) {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        "built-in roles cannot be deleted",
                    ));
                }
                let policy = Policy::read(changes)?;
                let Some(definition) = policy.definitions.get(&id) else {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("there is no role {id}"),
                    ));
                };
                if policy
                    .assignments
                    .values()
                    .any(|assignment| assignment.role == id)
                {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        "the role is assigned to somebody; delete its assignments first",
                    ));
                }
                changes.remove(Space::RoleDefinitions, &id.to_bytes())?;
                Ok(definition.clone())
            })
            .await?;
        Ok(Done::change(Response::RoleDefinition(Box::new(gone))))
    }

    pub(super) fn list_role_assignments(
        &self,
        _permit: &Permit,
        scope: Option<&Scope>,
    ) -> Result<Done> {
        let policy = self.0.policy.read();
        let assignments = policy
            .assignments
            .values()
            .filter(|assignment| scope.is_none_or(|scope| assignment.scope == *scope))
            .cloned()
            .collect();
        Ok(Done::read(Response::RoleAssignments(assignments)))
    }

    pub(super) async fn create_role_assignment(
        &self,
        asked: Asked<'_>,
        id: Option<RoleId>,
        role: RoleId,
        principal: Principal,
        scope: Scope,
    ) -> Result<Done> {
        let id = match id {
            Some(id) => id,
            None => RoleId::from_random(self.random().await?),
        };
        let role_name = self
            .0
            .policy
            .read()
            .definitions
            .get(&role)
            .map_or_else(|| role.to_string(), |role| role.name.clone());
        let change = Change::requested(
            asked.id,
            asked.principal,
            asked.permit,
            format!("/roleAssignments/{id}"),
        )
        .detail(format!("{role_name} to {principal} at {scope}"));
        let assignment = self
            .change(change, move |changes, now| {
                let assignment =
                    RoleAssignment::new(id, role, principal.clone(), scope.clone(), now);
                check_assignment(&Policy::read(changes)?, &assignment)?;
                put_assignment(changes, &assignment)?;
                Ok(assignment)
            })
            .await?;
        Ok(Done::change(Response::RoleAssignment(Box::new(assignment))))
    }

    pub(super) async fn delete_role_assignment(
        &self,
        asked: Asked<'_>,
        id: RoleId,
    ) -> Result<Done> {
        let change = Change::requested(
            asked.id,
            asked.principal,
            asked.permit,
            format!("/roleAssignments/{id}"),
        )
        .detail("deleted");
        let gone = self
            .change(change, move |changes, _| {
                let policy = Policy::read(changes)?;
                let Some(assignment) = policy.assignments.get(&id) else {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("there is no role assignment {id}"),
                    ));
                };
                policy.check_governed_without(changes, |other| other.id == assignment.id)?;
                changes.remove(Space::RoleAssignments, &id.to_bytes())?;
                Ok(assignment.clone())
            })
            .await?;
        Ok(Done::change(Response::RoleAssignment(Box::new(gone))))
    }
}

pub(super) fn put_assignment(changes: &mut Changes<'_>, assignment: &RoleAssignment) -> Result<()> {
    changes.put(
        Space::RoleAssignments,
        &assignment.id.to_bytes(),
        &record::to_bytes(assignment)?,
    )
}

fn check_assignment(policy: &Policy, new: &RoleAssignment) -> Result<()> {
    if !policy.definitions.contains_key(&new.role) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no role {}", new.role),
        ));
    }
    if policy.assignments.contains_key(&new.id) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("there is a role assignment {} already", new.id),
        ));
    }
    let same = |other: &&RoleAssignment| {
        (&other.role, &other.principal, &other.scope) == (&new.role, &new.principal, &new.scope)
    };
    if policy.assignments.values().any(|other| same(&other)) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("{} has this role at {} already", new.principal, new.scope),
        ));
    }
    let all = policy.assignments.len() + 1;
    if all > ROLE_ASSIGNMENTS_MAX {
        return Err(limit(
            "the number of role assignments",
            all,
            ROLE_ASSIGNMENTS_MAX,
        ));
    }
    let (here, max) = match new.scope {
        Scope::Global | Scope::Keys => (
            policy
                .assignments
                .values()
                .filter(|other| !matches!(other.scope, Scope::Key(_)))
                .count(),
            ROLE_ASSIGNMENTS_GLOBAL_MAX,
        ),
        Scope::Key(_) => (
            policy
                .assignments
                .values()
                .filter(|other| other.scope == new.scope)
                .count(),
            ROLE_ASSIGNMENTS_PER_KEY_MAX,
        ),
    };
    if here + 1 > max {
        return Err(limit(
            "the number of role assignments at this scope",
            here + 1,
            max,
        ));
    }
    Ok(())
}

fn read_all<T: for<'de> serde::Deserialize<'de>>(
    records: &impl Records,
    space: Space,
    max: usize,
) -> Result<Vec<T>> {
    let rows = records.scan(space, b"", None, max + 1)?;
    if rows.len() > max {
        return Err(damaged(format!(
            "there are more than {max} records in {}",
            space.name()
        )));
    }
    rows.iter()
        .map(|(_, value)| record::from_bytes(&format!("a record in {}", space.name()), value))
        .collect()
}
