//! The key lifecycle of NIST SP 800-57 part 1 revision 5, section 7: one table of states, and one of what each allows.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::Usage;

/// The state of a key version.
///
/// The table is [`State::after`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// Made, and of no use yet.
    PreActivation,
    /// In use.
    Active,
    /// Put aside for a while (`enabled: false` in Key Vault): of no use until it is resumed.
    Suspended,
    /// Protects nothing new; what it protected can still be verified and decrypted.
    Deactivated,
    /// Somebody else may have it. What it encrypted can still be decrypted, to be saved under another key; nothing that
    /// it signed can be trusted.
    Compromised,
    /// Gone.
    Destroyed,
}

/// What moves a key from one state to another.
///
/// For [`State::after`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// Put into use.
    Activate,
    /// Put aside.
    Suspend,
    /// Take back into use.
    Resume,
    /// Stop protecting anything new, for good.
    Deactivate,
    /// Say that somebody else may have the key.
    Compromise,
    /// Destroy.
    Destroy,
}

impl State {
    /// Every state, in the order of the standard.
    pub const ALL: [Self; 6] = [
        Self::PreActivation,
        Self::Active,
        Self::Suspended,
        Self::Deactivated,
        Self::Compromised,
        Self::Destroyed,
    ];

    /// The state after `event`; `None` if there is no such step.
    ///
    /// ```
    /// use hsm_core::lifecycle::{Event, State};
    ///
    /// assert_eq!(State::Active.after(Event::Suspend), Some(State::Suspended));
    /// assert_eq!(State::Deactivated.after(Event::Resume), None);
    /// ```
    #[must_use]
    pub const fn after(self, event: Event) -> Option<Self> {
        Some(match (self, event) {
            (Self::PreActivation, Event::Activate) | (Self::Suspended, Event::Resume) => {
                Self::Active
            }
            (Self::Active, Event::Suspend) => Self::Suspended,
            (Self::Active | Self::Suspended, Event::Deactivate) => Self::Deactivated,
            (
                Self::PreActivation | Self::Active | Self::Suspended | Self::Deactivated,
                Event::Compromise,
            ) => Self::Compromised,
            (Self::PreActivation | Self::Deactivated | Self::Compromised, Event::Destroy) => {
                Self::Destroyed
            }
            _ => return None, // no arrow in docs/key_lifecycle.md
        })
    }

    /// Whether a key in this state may be used for `usage`.
    ///
    /// ```
    /// use hsm_core::Usage;
    /// use hsm_core::lifecycle::State;
    ///
    /// assert!(State::Deactivated.allows(Usage::Verify));
    /// assert!(!State::Deactivated.allows(Usage::Sign));
    /// ```
    #[must_use]
    pub const fn allows(self, usage: Usage) -> bool {
        match self {
            Self::Active => true,
            Self::Deactivated => matches!(
                usage,
                Usage::Verify
                    | Usage::Decrypt
                    | Usage::UnwrapKey
                    | Usage::Import
                    | Usage::Decapsulate
            ),
            Self::Compromised => {
                matches!(
                    usage,
                    Usage::Decrypt | Usage::UnwrapKey | Usage::Decapsulate
                )
            }
            Self::PreActivation | Self::Suspended | Self::Destroyed => false,
        }
    }

    /// The state's name in the standard.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreActivation => "pre-activation",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 6] = [
        Self::Activate,
        Self::Suspend,
        Self::Resume,
        Self::Deactivate,
        Self::Compromise,
        Self::Destroy,
    ];

    /// What has happened to a key after the event: `suspended`, …
    #[must_use]
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Activate => "activated",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Deactivate => "deactivated",
            Self::Compromise => "marked compromised",
            Self::Destroy => "destroyed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, as printed in docs/key_lifecycle.md.
    const TABLE: &str = "\
pre-activation + activated -> active
pre-activation + marked compromised -> compromised
pre-activation + destroyed -> destroyed
active + suspended -> suspended
active + deactivated -> deactivated
active + marked compromised -> compromised
suspended + resumed -> active
suspended + deactivated -> deactivated
suspended + marked compromised -> compromised
deactivated + marked compromised -> compromised
deactivated + destroyed -> destroyed
compromised + destroyed -> destroyed
";

    #[test]
    fn the_table_is_the_documented_one() {
        let mut printed = String::new();
        for state in State::ALL {
            for event in Event::ALL {
                if let Some(after) = state.after(event) {
                    printed += &format!("{state} + {} -> {after}\n", event.participle());
                }
            }
        }
        assert_eq!(printed, TABLE);
        assert!(
            include_str!("../docs/key_lifecycle.md").contains(TABLE),
            "docs/key_lifecycle.md shows another table"
        );
    }

    #[test]
    fn nothing_leaves_destroyed_and_nothing_new_is_protected_after_the_end() {
        for event in Event::ALL {
            assert_eq!(State::Destroyed.after(event), None);
        }
        let protects = [
            Usage::Sign,
            Usage::Encrypt,
            Usage::WrapKey,
            Usage::Export,
            Usage::DeriveKey,
            Usage::DeriveBits,
            Usage::Encapsulate,
        ];
        for state in State::ALL {
            for usage in protects {
                assert_eq!(
                    state.allows(usage),
                    state == State::Active,
                    "{state} {usage:?}"
                );
            }
        }
    }
}
