//! [`Step`] and [`Act`]: what can happen in a history, from alphabets so small that steps meet.

use std::time::Duration;

use hsm_core::lifecycle::Event;
use hsm_core::policy::{ActionSet, BuiltInRole, DataAction, RoleId, Scope};
use hsm_core::{KeyType, Usage, Usages};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;

use crate::service::ADMINISTRATOR;

/// The names that keys have in a history.
pub(super) const KEYS: [&str; 3] = ["blue", "green", "red"];

/// The users of a history. The first is there from the beginning, and may do everything.
pub(super) const USERS: [&str; 3] = [ADMINISTRATOR, "alice", "bob"];

/// The names that API tokens have in a history.
pub(super) const TOKENS: [&str; 2] = ["night", "noon"];

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A user asks for something; who has no session logs in first.
    Ask {
        /// Who, of [`USERS`].
        by: &'static str,
        /// For what.
        act: Act,
    },
    /// A user logs in, with the right password or a wrong one.
    Login {
        /// Who, of [`USERS`].
        user: &'static str,
        /// Whether the password is the right one.
        right: bool,
    },
    /// A user logs out, and asks once more.
    Logout {
        /// Who, of [`USERS`].
        user: &'static str,
    },
    /// Somebody shows a token, asks for something, and goes.
    ShowToken {
        /// Which, of [`TOKENS`].
        token: &'static str,
    },
    /// Time passes.
    Advance(Duration),
    /// The clock goes back.
    GoBack(Duration),
    /// What is due is done.
    Maintain,
    /// The service is dropped, and opened again on what it kept.
    Restart,
}

/// What a user asks for.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Makes a key.
    Create {
        key: &'static str,
        kind: Kind,
        life: Life,
    },
    /// Takes a key in clear, of one of two materials, or of one that is too short.
    Import {
        key: &'static str,
        kind: Kind,
        life: Life,
        material: Material,
    },
    /// Wraps a key under another.
    Export { key: Which, wrapping: Which },
    /// Takes what an earlier step exported, or made otherwise.
    ImportWrapped {
        key: &'static str,
        kind: Kind,
        life: Life,
        wrapping: Which,
        product: usize,
    },
    /// Reads a key version.
    Get { key: Which },
    /// Lists keys, or soft-deleted keys.
    List { deleted: bool, page: Paging },
    /// Lists the versions of a key.
    ListVersions {
        key: &'static str,
        after: Option<usize>,
        limit: Option<usize>,
    },
    /// Reads a soft-deleted key.
    GetDeleted { key: &'static str },
    /// Changes attributes.
    Update { key: Which, change: Change },
    /// Makes a new version.
    Rotate { key: &'static str },
    /// Reads a rotation policy.
    GetPolicy { key: &'static str },
    /// Sets or removes a rotation policy.
    SetPolicy {
        key: &'static str,
        policy: Option<Policy>,
    },
    /// Soft-deletes a key.
    Delete { key: &'static str },
    /// Brings a key back.
    Recover { key: &'static str },
    /// Destroys a soft-deleted key.
    Purge { key: &'static str },
    /// Backs a key up.
    Backup { key: &'static str },
    /// Restores a backup of an earlier step, 0 the last one, or one that was edited.
    Restore { backup: usize, edited: bool },
    /// Signs, encrypts, …
    Use {
        key: Which,
        operation: Use,
        text: &'static str,
    },
    /// Verifies, decrypts, unwraps or decapsulates what an earlier step made, 0 the last one; with the version that made it if no key is given.
    Check {
        product: usize,
        key: Option<Which>,
        edited: bool,
    },
    /// Defines a role, or defines it anew.
    PutRole {
        id: u8,
        name: &'static str,
        actions: Actions,
    },
    /// Deletes a role.
    DeleteRole { role: Role },
    /// Lists roles.
    ListRoles,
    /// Assigns a role.
    Assign {
        id: u8,
        role: Role,
        user: &'static str,
        at: Place,
    },
    /// Takes a role away; the first administrator's own if no number is given.
    Unassign { id: Option<u8> },
    /// Lists assignments.
    ListAssignments { at: Option<Place> },
    /// Creates a user.
    CreateUser {
        user: &'static str,
        password: &'static str,
    },
    /// Changes a user.
    UpdateUser { user: &'static str, how: How },
    /// Deletes a user.
    DeleteUser { user: &'static str },
    /// Changes one's own password.
    ChangePassword { right: bool, new: &'static str },
    /// Makes an API token that expires so many seconds from now.
    CreateToken {
        token: &'static str,
        user: &'static str,
        expires: i64,
    },
    /// Lists API tokens.
    ListTokens,
    /// Deletes an API token.
    DeleteToken { token: &'static str },
    /// Lists users.
    ListUsers,
    /// Reads the settings.
    GetSettings,
    /// Changes the settings.
    Set {
        retention_days: Option<u16>,
        purge_protection: Option<bool>,
    },
}

/// A key, and which of the versions that it ever had, purged ones included: `None` is the current one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which {
    /// The name, of [`KEYS`].
    pub(super) name: &'static str,
    /// The version, counted from the oldest; beyond the last, it begins again.
    pub(super) version: Option<usize>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Signs and verifies, ES256.
    Signing,
    /// Encrypts, decrypts, wraps and unwraps, AES-256.
    Encryption,
    /// Makes and checks MACs, HS256.
    Mac,
    /// Exports and imports other keys, AES-256.
    Transport,
    /// Derives, HKDF-SHA256.
    Derivation,
    /// Agrees, X25519.
    Agreement,
    /// Encapsulates and decapsulates, X-Wing.
    Encapsulation,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Signing,
        Self::Encryption,
        Self::Mac,
        Self::Transport,
        Self::Derivation,
        Self::Agreement,
        Self::Encapsulation,
    ];

    /// A kind whose keys are plain bytes. Not for transport: who knows a wrapping key in clear can unwrap what it wraps.
    pub(super) const fn symmetric(self) -> Self {
        match self {
            Self::Signing => Self::Mac,
            Self::Transport => Self::Encryption,
            Self::Agreement | Self::Encapsulation => Self::Derivation,
            other => other,
        }
    }

    pub(super) const fn key_type(self) -> KeyType {
        match self {
            Self::Signing => KeyType::EcP256,
            Self::Encryption | Self::Transport => KeyType::Aes256,
            Self::Mac => KeyType::HmacSha256,
            Self::Derivation => KeyType::Kdk256,
            Self::Agreement => KeyType::X25519,
            Self::Encapsulation => KeyType::XWing,
        }
    }

    pub(super) const fn usages(self) -> Usages {
        match self {
            Self::Signing | Self::Mac => Usages::of(&[Usage::Sign, Usage::Verify]),
            Self::Encryption => Usages::of(&[
                Usage::Encrypt,
                Usage::Decrypt,
                Usage::WrapKey,
                Usage::UnwrapKey,
            ]),
            Self::Transport => Usages::of(&[Usage::Import, Usage::Export]),
            Self::Derivation => Usages::of(&[Usage::DeriveKey]),
            Self::Agreement => Usages::of(&[Usage::DeriveBits]),
            Self::Encapsulation => Usages::of(&[Usage::Encapsulate, Usage::Decapsulate]),
        }
    }
}

/// What else a new key shall be. Times are seconds from now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    pub(super) exportable: bool,
    pub(super) not_before: Option<i64>,
    pub(super) expires: Option<i64>,
    pub(super) pre_activation: bool,
    pub(super) tag: Option<&'static str>,
    pub(super) rotation: Option<Policy>,
    /// If the name is taken, as a new version.
    pub(super) or_add_version: bool,
}

/// A change of attributes. Times are seconds from now; `Some(None)` removes them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub(super) event: Option<Event>,
    pub(super) enabled: Option<bool>,
    pub(super) usages: Option<Usages>,
    pub(super) not_before: Option<Option<i64>>,
    pub(super) expires: Option<Option<i64>>,
    pub(super) tag: Option<&'static str>,
}

/// The bytes of an imported key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Material {
    /// 32 bytes, all 1.
    Ones,
    /// 32 bytes, all 2.
    Twos,
    /// 31 bytes.
    Short,
}

/// A rotation policy, as ISO 8601 durations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Policy {
    /// Rotates after the first, and expires after the second.
    After(&'static str, Option<&'static str>),
    /// Rotates the first before the end of the second.
    BeforeExpiry(&'static str, &'static str),
}

/// A page of a listing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Paging {
    pub(super) after: Option<&'static str>,
    pub(super) limit: Option<usize>,
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    /// What a key of its type does.
    Natural,
    Sign,
    Mac,
    Encrypt,
    Wrap,
    Derive,
    Agree,
    Encapsulate,
}

/// A role.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// One that every partition has.
    BuiltIn(BuiltInRole),
    /// The one that the history defines under this number.
    Custom(u8),
}

impl Role {
    pub(super) const fn id(self) -> RoleId {
        match self {
            Self::BuiltIn(role) => role.id(),
            Self::Custom(id) => custom(id),
        }
    }
}

pub(super) const fn custom(id: u8) -> RoleId {
    RoleId::from_u128(0xc0 + id as u128)
}

pub(super) const fn assignment(id: u8) -> RoleId {
    RoleId::from_u128(0xa0 + id as u128)
}

/// What a custom role allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Actions {
    /// To export keys.
    Export,
    /// To make keys and use them, not to delete them.
    Use,
    /// To assign roles and change users.
    Govern,
    /// To change users, and nothing else.
    Staff,
}

impl Actions {
    pub(super) const fn list(self) -> &'static [DataAction] {
        match self {
            Self::Export => &[DataAction::KeyExport],
            Self::Use => &[
                DataAction::KeyRead,
                DataAction::KeyCreate,
                DataAction::KeySign,
                DataAction::KeyVerify,
            ],
            Self::Govern => &[DataAction::RoleAssignmentWrite, DataAction::UserWrite],
            Self::Staff => &[DataAction::UserWrite, DataAction::UserDelete],
        }
    }

    pub(super) const fn set(self) -> ActionSet {
        ActionSet::of(self.list())
    }
}

/// Where a role is assigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Global,
    Keys,
    Key(&'static str),
}

impl Place {
    pub(super) fn scope(self) -> hsm_core::Result<Scope> {
        match self {
            Self::Global => Ok(Scope::Global),
            Self::Keys => Ok(Scope::Keys),
            Self::Key(name) => name.parse().map(Scope::Key),
        }
    }
}

/// A change of a user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    Disable,
    Enable,
    Password(&'static str),
    Unlock,
}

/// Histories of up to `steps` steps in which keys live: mostly the administrator's work.
pub(super) fn of_keys(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let by = || Just(ADMINISTRATOR);
    let step = prop_oneof![
        14 => single(by(), act_on_keys()),
        8 => around(by(), act_on_keys()),
        3 => deletion(by()),
        3 => rotation(by()),
        2 => restoration(by()),
        5 => time(),
        1 => Just(vec![Step::Restart]),
    ];
    let first = (key(), kind(), life()).prop_map(move |(key, kind, life)| Step::Ask {
        by: ADMINISTRATOR,
        act: Act::Create { key, kind, life },
    });
    (weighted(0.9, first), vec(step, 1..=steps)).prop_map(|(first, rest)| {
        let rest = rest.into_iter().flatten();
        first.into_iter().chain(rest).collect()
    })
}

fn single(
    by: impl Strategy<Value = &'static str>,
    act: impl Strategy<Value = Act>,
) -> impl Strategy<Value = Vec<Step>> {
    (by, act).prop_map(|(by, act)| vec![Step::Ask { by, act }])
}

/// Something is made with a key, something happens, and what was made is looked at again.
fn around(
    by: impl Strategy<Value = &'static str>,
    act: impl Strategy<Value = Act>,
) -> impl Strategy<Value = Vec<Step>> {
    let make = (which(), text()).prop_map(|(key, text)| Act::Use {
        key,
        operation: Use::Natural,
        text,
    });
    let check = weighted(0.3, which()).prop_map(|key| Act::Check {
        product: 0,
        key,
        edited: false,
    });
    (by, weighted(0.9, make), act, weighted(0.9, check)).prop_map(|(by, make, act, check)| {
        let acts = make.into_iter().chain([act]).chain(check);
        acts.map(|act| Step::Ask { by, act }).collect()
    })
}

/// Histories of up to `steps` steps in which users come and go, and roles and settings change, while keys are used.
pub(super) fn of_people(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let by = || prop_oneof![4 => Just(USERS[0]), 3 => Just(USERS[1]), 1 => Just(USERS[2])];
    let step = prop_oneof![
        12 => single(by(), act_on_people()),
        6 => single(by(), act_on_keys()),
        3 => around(by(), act_on_people()),
        1 => deletion(by()),
        4 => interference(),
        1 => mutiny(),
        1 => (user(), any::<bool>()).prop_map(|(user, right)| vec![Step::Login { user, right }]),
        1 => user().prop_map(|user| vec![Step::Logout { user }]),
        3 => token().prop_map(|token| vec![Step::ShowToken { token }]),
        2 => time(),
        1 => Just(vec![Step::Restart]),
    ];
    // Somebody must be there for things to happen to.
    let ask = |act| Step::Ask { by: USERS[0], act };
    let first = (password(), role(), place()).prop_map(move |(password, role, at)| {
        let (id, user) = (0, USERS[1]);
        [
            ask(Act::CreateUser { user, password }),
            ask(Act::Assign { id, role, user, at }),
        ]
    });
    (weighted(0.9, first), vec(step, 1..=steps)).prop_map(|(first, rest)| {
        let rest = rest.into_iter().flatten();
        first.into_iter().flatten().chain(rest).collect()
    })
}

/// A user does something, the administrator changes what the user is or may, and the user goes on.
fn interference() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        4 => how().prop_map(|how| Act::UpdateUser { user: USERS[1], how }),
        1 => Just(Act::DeleteUser { user: USERS[1] }),
        1 => password().prop_map(|password| Act::CreateUser { user: USERS[1], password }),
        2 => (0..5u8, role(), place())
            .prop_map(|(id, role, at)| Act::Assign { id, role, user: USERS[1], at }),
        1 => (0..5u8).prop_map(|id| Act::Unassign { id: Some(id) }),
    ];
    let act = prop_oneof![1 => Just(Act::GetSettings), 1 => act_on_keys()];
    (act, vec(change, 1..=3)).prop_map(|(act, changes)| {
        let ask = |by, act| Step::Ask { by, act };
        let mut steps = vec![ask(USERS[1], act.clone())];
        steps.extend(changes.into_iter().map(|change| ask(USERS[0], change)));
        steps.push(ask(USERS[1], act));
        steps
    })
}

/// Somebody who may change users turns against the administrator.
fn mutiny() -> impl Strategy<Value = Vec<Step>> {
    (actions(), any::<bool>()).prop_map(|(actions, delete)| {
        let (administrator, alice) = (USERS[0], USERS[1]);
        let ask = |by, act| Step::Ask { by, act };
        let (id, name) = (1, "Other");
        let define = Act::PutRole { id, name, actions };
        let assign = Act::Assign {
            id: 4,
            role: Role::Custom(id),
            user: alice,
            at: Place::Global,
        };
        let act = match delete {
            true => Act::DeleteUser {
                user: administrator,
            },
            false => Act::UpdateUser {
                user: administrator,
                how: How::Disable,
            },
        };
        vec![
            ask(administrator, define),
            ask(administrator, assign),
            ask(alice, act),
        ]
    })
}

/// A key gets a policy and perhaps another end, and time passes until the policy is due, or nearly.
fn rotation(by: impl Strategy<Value = &'static str>) -> impl Strategy<Value = Vec<Step>> {
    let end = weighted(0.6, offset());
    let time = of(select(vec![1, 2, 4, 6]));
    (by, key(), policy(), end, time).prop_map(|(by, key, policy, end, days)| {
        let ask = |act| Step::Ask { by, act };
        let policy = Some(policy);
        let mut steps = vec![ask(Act::SetPolicy { key, policy })];
        if end.is_some() {
            let (name, version) = (key, None);
            let change = Change {
                expires: Some(end),
                ..Change::default()
            };
            steps.push(ask(Act::Update {
                key: Which { name, version },
                change,
            }));
        }
        steps.extend(days.map(|days: u64| Step::Advance(Duration::from_secs(days * 24 * 3600))));
        steps.push(Step::Maintain);
        steps
    })
}

/// A key is deleted, time passes or settings change, and somebody wants it back, or gone.
fn deletion(by: impl Strategy<Value = &'static str>) -> impl Strategy<Value = Vec<Step>> {
    let settings = || weighted(0.3, set());
    let time = of(time());
    (by, key(), settings(), settings(), time, any::<bool>()).prop_map(
        |(by, key, before, after, time, back)| {
            let ask = |act| Step::Ask { by, act };
            let set = |act| Step::Ask { by: USERS[0], act };
            let last = match back {
                true => Act::Recover { key },
                false => Act::Purge { key },
            };
            let mut steps: Vec<_> = before.into_iter().map(set).collect();
            steps.push(ask(Act::Delete { key }));
            steps.extend(after.into_iter().map(set));
            steps.extend(time.into_iter().flatten());
            steps.push(ask(last));
            steps
        },
    )
}

/// A key is backed up, something happens to it, it is purged, and comes back.
fn restoration(by: impl Strategy<Value = &'static str>) -> impl Strategy<Value = Vec<Step>> {
    let name = || Just(KEYS[2]);
    let between = weighted(0.7, (name(), change()));
    (by, name(), between, prop::bool::weighted(0.8)).prop_map(|(by, key, between, purge)| {
        let mut acts = vec![Act::Backup { key }];
        acts.extend(between.map(|(name, change)| {
            let version = None;
            let key = Which { name, version };
            Act::Update { key, change }
        }));
        acts.push(Act::Delete { key });
        acts.extend(purge.then_some(Act::Purge { key }));
        acts.push(Act::Restore {
            backup: 0,
            edited: false,
        });
        acts.into_iter().map(|act| Step::Ask { by, act }).collect()
    })
}

fn time() -> impl Strategy<Value = Vec<Step>> {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    let forward = select(vec![1, 60, 16 * 60, HOUR, DAY, 2 * DAY, 8 * DAY, 91 * DAY]);
    let back = select(vec![1, HOUR, DAY]);
    prop_oneof![
        4 => forward.prop_map(|seconds| vec![Step::Advance(Duration::from_secs(seconds))]),
        1 => back.prop_map(|seconds| vec![Step::GoBack(Duration::from_secs(seconds))]),
        2 => Just(vec![Step::Maintain]),
        2 => Just(vec![Step::Advance(Duration::from_secs(8 * DAY)), Step::Maintain]),
    ]
}

fn act_on_keys() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (key(), kind(), life()).prop_map(|(key, kind, life)| Act::Create { key, kind, life }),
        1 => (key(), kind(), life(), material())
            .prop_map(|(key, kind, life, material)| Act::Import { key, kind, life, material }),
        1 => (which(), which()).prop_map(|(key, wrapping)| Act::Export { key, wrapping }),
        1 => (key(), kind(), life(), which(), product()).prop_map(
            |(key, kind, life, wrapping, product)| {
                Act::ImportWrapped { key, kind, life, wrapping, product }
            }
        ),
        1 => which().prop_map(|key| Act::Get { key }),
        1 => (any::<bool>(), paging()).prop_map(|(deleted, page)| Act::List { deleted, page }),
        1 => (key(), of(0..4usize), limit())
            .prop_map(|(key, after, limit)| Act::ListVersions { key, after, limit }),
        1 => key().prop_map(|key| Act::GetDeleted { key }),
        6 => (which(), change()).prop_map(|(key, change)| Act::Update { key, change }),
        4 => key().prop_map(|key| Act::Rotate { key }),
        1 => key().prop_map(|key| Act::GetPolicy { key }),
        2 => (key(), weighted(0.8, policy()))
            .prop_map(|(key, policy)| Act::SetPolicy { key, policy }),
        3 => key().prop_map(|key| Act::Delete { key }),
        2 => key().prop_map(|key| Act::Recover { key }),
        1 => key().prop_map(|key| Act::Purge { key }),
        2 => key().prop_map(|key| Act::Backup { key }),
        3 => (product(), prop::bool::weighted(0.1))
            .prop_map(|(backup, edited)| Act::Restore { backup, edited }),
        8 => (which(), operation(), text())
            .prop_map(|(key, operation, text)| Act::Use { key, operation, text }),
        5 => (product(), weighted(0.3, which()), prop::bool::weighted(0.1))
            .prop_map(|(product, key, edited)| Act::Check { product, key, edited }),
    ]
}

fn act_on_people() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (user(), password()).prop_map(|(user, password)| Act::CreateUser { user, password }),
        4 => (user(), how()).prop_map(|(user, how)| Act::UpdateUser { user, how }),
        1 => user().prop_map(|user| Act::DeleteUser { user }),
        1 => (prop::bool::weighted(0.7), password())
            .prop_map(|(right, new)| Act::ChangePassword { right, new }),
        1 => Just(Act::ListUsers),
        4 => (token(), user(), offset())
            .prop_map(|(token, user, expires)| Act::CreateToken { token, user, expires }),
        1 => token().prop_map(|token| Act::DeleteToken { token }),
        2 => (0..2u8, select(vec!["Signer", "Other"]), actions())
            .prop_map(|(id, name, actions)| Act::PutRole { id, name, actions }),
        1 => role().prop_map(|role| Act::DeleteRole { role }),
        1 => Just(Act::ListRoles),
        8 => (0..5u8, role(), user(), place())
            .prop_map(|(id, role, user, at)| Act::Assign { id, role, user, at }),
        2 => weighted(0.9, 0..5u8).prop_map(|id| Act::Unassign { id }),
        1 => of(place()).prop_map(|at| Act::ListAssignments { at }),
        1 => Just(Act::GetSettings),
        1 => set(),
    ]
}

fn set() -> impl Strategy<Value = Act> {
    let days = of(select(vec![6, 7, 90, 91]));
    (days, weighted(0.4, prop::bool::weighted(0.8))).prop_map(
        |(retention_days, purge_protection)| Act::Set {
            retention_days,
            purge_protection,
        },
    )
}

/// Mostly one name, so that steps meet.
fn key() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(KEYS[2]), 2 => Just(KEYS[1]), 1 => Just(KEYS[0])]
}

fn which() -> impl Strategy<Value = Which> {
    (key(), weighted(0.3, 0..4usize)).prop_map(|(name, version)| Which { name, version })
}

/// Mostly the newest.
fn product() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 1 => 0..8usize]
}

fn user() -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => Just(USERS[0]), 4 => Just(USERS[1]), 2 => Just(USERS[2])]
}

fn token() -> impl Strategy<Value = &'static str> {
    select(TOKENS.to_vec())
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![3 => Just(Kind::Signing), 2 => Just(Kind::Encryption), 4 => select(Kind::ALL.to_vec())]
}

fn life() -> impl Strategy<Value = Life> {
    (
        any::<bool>(),
        weighted(0.1, offset()),
        weighted(0.2, offset()),
        prop::bool::weighted(0.1),
        weighted(0.2, tag()),
        weighted(0.2, policy()),
        prop::bool::weighted(0.4),
    )
        .prop_map(
            |(exportable, not_before, expires, pre_activation, tag, rotation, or_add_version)| {
                Life {
                    exportable,
                    not_before,
                    expires,
                    pre_activation,
                    tag,
                    rotation,
                    or_add_version,
                }
            },
        )
}

fn change() -> impl Strategy<Value = Change> {
    let usages = select(vec![
        Usages::NONE,
        Usages::of(&[Usage::Sign]),
        Usages::of(&[Usage::Verify]),
        Usages::of(&[Usage::Decrypt, Usage::UnwrapKey]),
        Usages::of(&[Usage::Export]),
        Usages::of(&[Usage::Decapsulate]),
    ]);
    let mut events = Event::ALL.to_vec();
    events.extend([Event::Suspend, Event::Suspend, Event::Resume]);
    let moves = prop_oneof![
        6 => select(events).prop_map(|event| (Some(event), None)),
        3 => any::<bool>().prop_map(|enabled| (None, Some(enabled))),
        1 => Just((Some(Event::Suspend), Some(false))),
        2 => Just((None, None)),
    ];
    (
        moves,
        weighted(0.1, usages),
        weighted(0.1, of(offset())),
        weighted(0.2, of(offset())),
        weighted(0.1, tag()),
    )
        .prop_map(
            |((event, enabled), usages, not_before, expires, tag)| Change {
                event,
                enabled,
                usages,
                not_before,
                expires,
                tag,
            },
        )
}

fn offset() -> impl Strategy<Value = i64> {
    const DAY: i64 = 24 * 3600;
    select(vec![-3600, 0, 60, 3600, DAY, 3 * DAY, 400 * DAY])
}

fn policy() -> impl Strategy<Value = Policy> {
    select(vec![
        Policy::After("P1D", None),
        Policy::After("P2D", Some("P5D")),
        Policy::BeforeExpiry("P1D", "P3D"),
    ])
}

fn operation() -> impl Strategy<Value = Use> {
    let others = vec![
        Use::Sign,
        Use::Mac,
        Use::Encrypt,
        Use::Wrap,
        Use::Derive,
        Use::Encapsulate,
    ];
    prop_oneof![8 => Just(Use::Natural), 1 => Just(Use::Wrap), 1 => select(others)]
}

fn text() -> impl Strategy<Value = &'static str> {
    select(vec!["to be or not to be", "that is the question"])
}

fn tag() -> impl Strategy<Value = &'static str> {
    select(vec!["old", "new"])
}

fn password() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a first password"), 4 => Just("a second password"), 1 => Just("short")]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        2 => Just(How::Disable),
        2 => Just(How::Enable),
        1 => password().prop_map(How::Password),
        1 => Just(How::Unlock),
    ]
}

fn role() -> impl Strategy<Value = Role> {
    let built_in = vec![
        BuiltInRole::Administrator,
        BuiltInRole::CryptoAuditor,
        BuiltInRole::CryptoOfficer,
    ];
    prop_oneof![
        3 => Just(Role::BuiltIn(BuiltInRole::CryptoUser)),
        2 => select(built_in).prop_map(Role::BuiltIn),
        2 => (0..2u8).prop_map(Role::Custom),
    ]
}

fn actions() -> impl Strategy<Value = Actions> {
    select(vec![
        Actions::Export,
        Actions::Use,
        Actions::Govern,
        Actions::Staff,
    ])
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![2 => Just(Place::Global), 1 => Just(Place::Keys), 2 => key().prop_map(Place::Key)]
}

fn paging() -> impl Strategy<Value = Paging> {
    (of(key()), limit()).prop_map(|(after, limit)| Paging { after, limit })
}

fn limit() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![5 => Just(None), 5 => (1..3usize).prop_map(Some), 1 => Just(Some(0))]
}

fn material() -> impl Strategy<Value = Material> {
    prop_oneof![4 => Just(Material::Ones), 2 => Just(Material::Twos), 1 => Just(Material::Short)]
}
