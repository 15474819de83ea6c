//! Keys: how they are named, described, sealed, and what their public halves can do.

mod attributes;
mod boot_state;
pub mod header;
mod id;
mod material;
mod public;
mod sealed;
mod spec;
pub mod typed;
pub mod wrapped;

pub use attributes::{Attributes, AttributesUpdate, Origin, Tags};
pub use boot_state::PcrSelection;
pub(crate) use id::check_name;
pub use id::{KeyName, KeyRef, VersionId};
pub use material::KeyMaterial;
pub use public::{Jwk, PublicKey};
pub use sealed::{Binding, SealedKey};
pub use spec::{KeySpec, Usage, Usages};
