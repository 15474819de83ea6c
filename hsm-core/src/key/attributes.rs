//! [`Attributes`]: what is known of a key version besides the key. All of it is bound into the sealed key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Binding, KeyName, KeySpec, Usages, VersionId};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, invalid, limit};
use crate::lifecycle::{Event, State};
use crate::limits::{TAG_LEN_MAX, TAGS_MAX};

/// Where a key comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Origin {
    /// Made in the device; it was never outside.
    Generated,
    /// Imported: somebody outside has, or had, a copy.
    Imported,
}

/// Names and values that the application attaches to a key: at most [`TAGS_MAX`], each part at most [`TAG_LEN_MAX`]
/// bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Checks and takes tags.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) above [`TAGS_MAX`] tags or [`TAG_LEN_MAX`] bytes,
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty name.
    pub fn new<K: Into<String>, V: Into<String>>(
        tags: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self> {
        let mut map = BTreeMap::new();
        for (name, value) in tags {
            let (name, value) = (name.into(), value.into());
            if name.is_empty() {
                return Err(invalid("a tag needs a name"));
            }
            if name.len().max(value.len()) > TAG_LEN_MAX {
                return Err(limit(
                    "the length of a tag",
                    name.len().max(value.len()),
                    TAG_LEN_MAX,
                ));
            }
            map.insert(name, value);
            if map.len() > TAGS_MAX {
                return Err(limit("the number of tags", map.len(), TAGS_MAX));
            }
        }
        Ok(Self(map))
    }

    /// The tags by name.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The value of a tag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        Self::new(map).map_err(serde::de::Error::custom)
    }
}

/// What is known of one version of a key besides the key itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attributes {
    /// Type, usages, and whether the key may leave wrapped.
    pub spec: KeySpec,
    /// The state that was last set. Time moves it on: ask [`state_at`](Self::state_at).
    pub state: State,
    /// Where the key comes from.
    pub origin: Origin,
    /// When this version was made.
    pub created: Timestamp,
    /// When an attribute last changed.
    pub updated: Timestamp,
    /// The version is of no use before.
    pub not_before: Option<Timestamp>,
    /// From then on the version is deactivated.
    pub expires: Option<Timestamp>,
    /// The application's own labels.
    pub tags: Tags,
}

impl Attributes {
    /// The attributes of a key that is made at `now`.
    #[must_use]
    pub fn new(spec: KeySpec, origin: Origin, now: Timestamp) -> Self {
        Self {
            spec,
            state: State::Active,
            origin,
            created: now,
            updated: now,
            not_before: None,
            expires: None,
            tags: Tags::default(),
        }
    }

    /// The state at `now`: what was set, moved on by [`not_before`](Self::not_before) and [`expires`](Self::expires).
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> State {
        let expired = self.expires.is_some_and(|expires| now >= expires);
        let early = self.not_before.is_some_and(|not_before| now < not_before);
        match self.state {
            State::Active | State::PreActivation if expired => State::Deactivated,
            State::Active if early => State::PreActivation,
            state => state,
        }
    }

    /// What ties a sealed key to its name, version and attributes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the attributes cannot be encoded, which does not happen.
    pub fn binding(&self, name: &KeyName, version: VersionId) -> Result<Binding> {
        let statement = postcard::to_allocvec(&(name, version, self))
            .map_err(|source| invalid("the attributes cannot be encoded").with_source(source))?;
        Ok(Binding::new("hsm key attributes v1", &statement))
    }

    /// The attributes after `update`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if a usage would be added, the validity period would be empty or the
    /// change has both an event and [`enabled`](AttributesUpdate::enabled), [`KeyState`](ErrorKind::KeyState) if the
    /// lifecycle has no such step from here.
    pub fn updated(&self, update: &AttributesUpdate, now: Timestamp) -> Result<Self> {
        let mut new = self.clone();
        match (update.event, update.enabled) {
            (None, None) => {}
            (Some(event), None) => {
                let state = self.state_at(now);
                new.state = state.after(event).ok_or_else(|| {
                    Error::new(
                        ErrorKind::KeyState,
                        format!("a key that is {state} cannot be {}", event.participle()),
                    )
                })?;
            }
            (None, Some(enabled)) => new.state = self.switched(enabled, now)?,
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "a change has a step through the lifecycle, or says whether the key is enabled, not both",
                ));
            }
        }
        if let Some(usages) = update.usages {
            if !usages.is_subset_of(self.spec.usages) {
                return Err(invalid(format!(
                    "usages can be taken away, never added: {} is new; make a new key for it",
                    usages.without(self.spec.usages)
                )));
            }
            new.spec = self.spec.with_usages(usages)?;
        }
        if let Some(not_before) = update.not_before {
            new.not_before = not_before;
        }
        if let Some(expires) = update.expires {
            let ended = matches!(
                self.state_at(now),
                State::Deactivated | State::Compromised | State::Destroyed
            );
            if ended && expires != self.expires {
                return Err(Error::new(
                    ErrorKind::KeyState,
                    "the key has ended; its expiry cannot be moved: rotate it instead",
                ));
            }
            new.expires = expires;
        }
        if let Some(tags) = &update.tags {
            new.tags = tags.clone();
        }
        new.check_period()?;
        new.updated = now;
        Ok(new)
    }

    /// The state to be set so that the key is enabled, or is not. Time is not set: an active key that is early or has
    /// expired is so again when it is resumed.
    fn switched(&self, enabled: bool, now: Timestamp) -> Result<State> {
        match (self.state_at(now), enabled) {
            (State::Active | State::PreActivation, false) => Ok(State::Suspended),
            (State::Suspended | State::PreActivation, true) => Ok(State::Active),
            (state @ (State::Deactivated | State::Compromised | State::Destroyed), true) => {
                Err(Error::new(
                    ErrorKind::KeyState,
                    format!("a key that is {state} cannot be enabled; rotate it instead"),
                ))
            }
            _ => Ok(self.state),
        }
    }

    /// Checks that the validity period is not empty.
    pub(crate) fn check_period(&self) -> Result<()> {
        match (self.not_before, self.expires) {
            (Some(not_before), Some(expires)) if expires <= not_before => Err(invalid(format!(
                "the key would expire ({expires}) before it becomes valid ({not_before})"
            ))),
            _ => Ok(()),
        }
    }
}

/// A change of attributes. What is not set stays as it is.
///
/// ```
/// use hsm_core::{AttributesUpdate, Timestamp};
/// use hsm_core::lifecycle::Event;
///
/// let update = AttributesUpdate::new().event(Event::Suspend).expires(Timestamp::from_unix_seconds(1_900_000_000));
/// assert_eq!(update.lifecycle_event(), Some(Event::Suspend));
/// assert_eq!(update.new_usages(), None); // they stay
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct AttributesUpdate {
    event: Option<Event>,
    enabled: Option<bool>,
    usages: Option<Usages>,
    not_before: Option<Option<Timestamp>>,
    expires: Option<Option<Timestamp>>,
    tags: Option<Tags>,
}

impl AttributesUpdate {
    /// A change of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the key through its lifecycle.
    pub fn event(mut self, event: Event) -> Self {
        self.event = Some(event);
        self
    }

    /// Suspends the key or lets it be used again, whichever it needs, as Key Vault's `enabled`. Not together with
    /// [`event`](Self::event).
    ///
    /// `false` suspends a key that is active or in pre-activation, `true` resumes a key that is suspended and activates one
    /// in pre-activation, unless its time has not come; nothing happens to one that is so already. A key that has ended or
    /// is compromised protects nothing new: `false` leaves it as it is, `true` is refused with
    /// [`KeyState`](ErrorKind::KeyState).
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Narrows the usages.
    pub fn usages(mut self, usages: Usages) -> Self {
        self.usages = Some(usages);
        self
    }

    /// Sets or, with `None`, removes the time before which the key is of no use.
    pub fn not_before(mut self, time: impl Into<Option<Timestamp>>) -> Self {
        self.not_before = Some(time.into());
        self
    }

    /// Sets or, with `None`, removes the time from which the key is deactivated.
    pub fn expires(mut self, time: impl Into<Option<Timestamp>>) -> Self {
        self.expires = Some(time.into());
        self
    }

    /// Replaces the tags.
    pub fn tags(mut self, tags: Tags) -> Self {
        self.tags = Some(tags);
        self
    }

    /// The step through the lifecycle, if one is asked for.
    #[must_use]
    pub fn lifecycle_event(&self) -> Option<Event> {
        self.event
    }

    /// Whether the key shall be enabled, if that is asked for.
    #[must_use]
    pub fn new_enabled(&self) -> Option<bool> {
        self.enabled
    }

    /// The usages that shall be left.
    #[must_use]
    pub fn new_usages(&self) -> Option<Usages> {
        self.usages
    }

    /// The new time before which the key is of no use; `Some(None)` if it shall have none any more.
    #[must_use]
    pub fn new_not_before(&self) -> Option<Option<Timestamp>> {
        self.not_before
    }

    /// The new time from which the key is deactivated; `Some(None)` if it shall have none any more.
    #[must_use]
    pub fn new_expires(&self) -> Option<Option<Timestamp>> {
        self.expires
    }

    /// The tags that shall replace those that there are.
    #[must_use]
    pub fn new_tags(&self) -> Option<&Tags> {
        self.tags.as_ref()
    }

    /// What the change says, for the audit record.
    pub(crate) fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(event) = self.event {
            parts.push(event.participle().to_owned());
        }
        if let Some(enabled) = self.enabled {
            parts.push(if enabled { "enabled" } else { "disabled" }.to_owned());
        }
        if let Some(usages) = self.usages {
            parts.push(format!("usages {usages}"));
        }
        for (what, time) in [("not before", self.not_before), ("expires", self.expires)] {
            match time {
                Some(Some(time)) => parts.push(format!("{what} {time}")),
                Some(None) => parts.push(format!("{what} removed")),
                None => {}
            }
        }
        if self.tags.is_some() {
            parts.push("tags".to_owned());
        }
        parts.join(", ")
    }
}
