//! Who may do what: data actions, role definitions and assignments, the one [`authorize`], and rotation policies.

mod action;
mod authorize;
mod role;
mod rotation;
mod scope;

pub use action::{ActionSet, DataAction};
pub use authorize::{Grants, Permit, authorize};
pub use role::{BuiltInRole, RoleAssignment, RoleDefinition, RoleId};
pub use rotation::{Action, LifetimeAction, Period, RotationPolicy, Trigger};
pub use scope::Scope;
