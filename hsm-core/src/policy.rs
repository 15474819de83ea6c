//! Who may do what: data actions, role definitions and assignments, and the one [`authorize`].

mod action;
mod authorize;
mod role;
mod scope;

pub use action::{ActionSet, DataAction};
pub use authorize::{Grants, Permit, authorize};
pub use role::{BuiltInRole, RoleAssignment, RoleDefinition, RoleId};
pub use scope::Scope;
