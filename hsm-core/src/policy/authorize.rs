//! [`authorize`]: the one function that says yes. It starts from no, and what it returns is what the engine's
//! operations ask for, so that a path around it does not compile.

use std::collections::HashMap;

use super::action::{ActionSet, DataAction};
use super::role::{RoleAssignment, RoleDefinition};
use super::scope::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyName;
use crate::service::Principal;

/// What one principal may do, compiled from its role assignments.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grants {
    global: ActionSet,
    keys: ActionSet,
    by_key: HashMap<KeyName, ActionSet>,
}

impl Grants {
    /// Compiles the assignments of `principal`. An assignment of a role that is not defined grants nothing.
    #[must_use]
    pub fn compile<'a>(
        principal: &Principal,
        definitions: impl Fn(super::RoleId) -> Option<&'a RoleDefinition>,
        assignments: impl IntoIterator<Item = &'a RoleAssignment>,
    ) -> Self {
        let mut grants = Self::default();
        for assignment in assignments {
            if assignment.principal != *principal {
                continue;
            }
            let Some(role) = definitions(assignment.role) else {
                continue;
            };
            let set = match &assignment.scope {
                Scope::Global => &mut grants.global,
                Scope::Keys => &mut grants.keys,
                Scope::Key(name) => grants.by_key.entry(name.clone()).or_default(),
            };
            *set = set.union(role.actions);
            // One's own password belongs to no scope: whoever has the action anywhere has it.
            if role.actions.contains(DataAction::OwnPasswordWrite) {
                grants.global = grants
                    .global
                    .union(ActionSet::of(&[DataAction::OwnPasswordWrite]));
            }
        }
        grants
    }

    /// Whether `action` is allowed at `scope`: by an assignment there or above.
    fn allow(&self, action: DataAction, scope: &Scope) -> bool {
        let allowed = match scope {
            Scope::Global => self.global,
            Scope::Keys => self.global.union(self.keys),
            Scope::Key(name) => {
                let here = self.global.union(self.keys);
                match self.by_key.get(name) {
                    Some(set) => here.union(*set),
                    None => here,
                }
            }
        };
        allowed.contains(action)
    }
}

/// Proof that an action was authorized. Only [`authorize`] makes one, and every operation of the engine takes one.
#[derive(Debug)]
pub struct Permit {
    action: DataAction,
}

impl Permit {
    /// What was authorized.
    #[must_use]
    pub fn action(&self) -> DataAction {
        self.action
    }

    /// The permit of what the partition does by itself, on nobody's request: rotation by policy, purge after retention.
    pub(crate) const fn maintenance() -> Self {
        Self {
            action: DataAction::Maintain,
        }
    }
}

/// Decides whether `principal`, who holds `grants`, may do `action` at `scope`.
///
/// ```
/// use hsm_core::policy::{authorize, BuiltInRole, DataAction, Grants, RoleAssignment, RoleDefinition, RoleId, Scope};
/// use hsm_core::{Principal, Timestamp};
///
/// let app: Principal = "app".parse()?;
/// let role = RoleDefinition::from(BuiltInRole::CryptoUser);
/// let assignment = RoleAssignment::new(RoleId::from_u128(1), role.id, app.clone(), "/keys/k".parse()?, Timestamp::default());
/// let grants = Grants::compile(&app, |id| (id == role.id).then_some(&role), [&assignment]);
///
/// assert!(authorize(&app, &grants, DataAction::KeySign, &"/keys/k".parse()?).is_ok());
/// assert!(authorize(&app, &grants, DataAction::KeySign, &Scope::Keys).is_err());
/// # Ok::<(), hsm_core::Error>(())
/// ```
///
/// # Errors
///
/// [`Denied`](ErrorKind::Denied), naming the action and the scope.
pub fn authorize(
    principal: &Principal,
    grants: &Grants,
    action: DataAction,
    scope: &Scope,
) -> Result<Permit> {
    if grants.allow(action, scope) {
        return Ok(Permit { action });
    }
    Err(Error::new(
        ErrorKind::Denied,
        format!(
            "{principal} has no role that allows {action} on {scope}; assign one at this scope or above"
        ),
    ))
}
