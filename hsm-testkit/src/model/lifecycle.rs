//! The lifecycle, said a second time: the arrows and the table of `docs/key_lifecycle.md`, and what a change may change.

use hsm_core::lifecycle::{Event, State};
use hsm_core::policy::RotationPolicy;
use hsm_core::{
    Attributes, AttributesUpdate, ErrorKind, KeySpec, NewKeyParameters, Origin, Result, Timestamp,
    Usage,
};

use super::refuse;

const ARROWS: [(State, Event, State); 9] = [
    (State::PreActivation, Event::Activate, State::Active),
    (State::PreActivation, Event::Compromise, State::Compromised),
    (State::Active, Event::Suspend, State::Suspended),
    (State::Active, Event::Deactivate, State::Deactivated),
    (State::Active, Event::Compromise, State::Compromised),
    (State::Suspended, Event::Resume, State::Active),
    (State::Suspended, Event::Deactivate, State::Deactivated),
    (State::Suspended, Event::Compromise, State::Compromised),
    (State::Deactivated, Event::Compromise, State::Compromised),
    // The arrows to `Destroyed` are taken by deleting and purging, never by an update.
];

/// Whether a key in `state` may be used for `usage`.
pub(super) fn allows(state: State, usage: Usage) -> bool {
    let looks_back = matches!(
        usage,
        Usage::Decrypt | Usage::UnwrapKey | Usage::Decapsulate
    );
    match state {
        State::Active => true,
        State::Deactivated => looks_back || matches!(usage, Usage::Verify | Usage::Import),
        State::Compromised => looks_back,
        _ => false,
    }
}

/// What was set, and what time has made of it.
pub(super) fn state_at(now: Timestamp, key: &Attributes) -> State {
    let over = key.expires.is_some_and(|end| end <= now);
    let early = key.not_before.is_some_and(|start| now < start);
    match (key.state, over, early) {
        (State::Active | State::PreActivation, true, _) => State::Deactivated,
        (State::Active, false, true) => State::PreActivation,
        (set, ..) => set,
    }
}

/// The attributes of a version that was asked for.
///
/// `kept` is the policy of the key that it becomes a version of.
pub(super) fn first(
    now: Timestamp,
    new: &NewKeyParameters,
    origin: Origin,
    kept: Option<&RotationPolicy>,
) -> Result<Attributes> {
    KeySpec::new(new.spec.key_type, new.spec.usages)?;
    let policy = new.rotation.as_ref().or(kept);
    let mut key = Attributes::new(new.spec, origin, now);
    key.not_before = new.not_before;
    key.expires = new.expires.or(policy.and_then(|policy| policy.expiry(now)));
    key.tags = new.tags.clone();
    if new.pre_activation {
        key.state = State::PreActivation;
    }
    check_period(&key)?;
    check_policy(&key, policy)?;
    Ok(key)
}

/// The attributes of the version after `old`: of the same kind, and as long a life.
pub(super) fn next(
    now: Timestamp,
    old: &Attributes,
    policy: Option<&RotationPolicy>,
) -> Result<Attributes> {
    if matches!(
        state_at(now, old),
        State::Suspended | State::PreActivation | State::Destroyed
    ) {
        return Err(refuse(ErrorKind::KeyState, "not to be rotated"));
    }
    let mut key = Attributes::new(old.spec, Origin::Generated, now);
    key.tags = old.tags.clone();
    let as_before = |end: Timestamp| (old.created < end).then(|| now + end.since(old.created));
    let by_policy = policy.and_then(|policy| policy.expiry(now));
    key.expires = by_policy.or(old.expires.and_then(as_before));
    Ok(key)
}

/// The attributes after a change.
pub(super) fn changed(
    now: Timestamp,
    old: &Attributes,
    update: &AttributesUpdate,
    policy: Option<&RotationPolicy>,
) -> Result<Attributes> {
    let mut key = old.clone();
    let state = state_at(now, old);
    if update.lifecycle_event().is_some() && update.new_enabled().is_some() {
        return Err(refuse(
            ErrorKind::InvalidInput,
            "either the one or the other",
        ));
    }
    match (update.new_enabled(), state) {
        (Some(false), State::Active | State::PreActivation) => key.state = State::Suspended,
        (Some(true), State::Suspended | State::PreActivation) => key.state = State::Active,
        (Some(true), State::Deactivated | State::Compromised) => {
            return Err(refuse(ErrorKind::KeyState, "its end has come"));
        }
        _ => {}
    }
    let destroy = update.lifecycle_event() == Some(Event::Destroy);
    if let Some(event) = update.lifecycle_event().filter(|_| !destroy) {
        let mut arrows = ARROWS.iter();
        let arrow = arrows.find(|(from, by, _)| (*from, *by) == (state, event));
        let (.., to) = arrow.ok_or_else(|| refuse(ErrorKind::KeyState, "no such arrow"))?;
        key.state = *to;
    }
    if destroy
        && !matches!(
            state,
            State::PreActivation | State::Deactivated | State::Compromised
        )
    {
        return Err(refuse(ErrorKind::KeyState, "no such arrow"));
    }
    if let Some(usages) = update.new_usages() {
        if !usages.is_subset_of(old.spec.usages) {
            return Err(refuse(ErrorKind::InvalidInput, "usages are never added"));
        }
        KeySpec::new(old.spec.key_type, usages)?;
        key.spec.usages = usages;
    }
    key.not_before = update.new_not_before().unwrap_or(old.not_before);
    key.expires = update.new_expires().unwrap_or(old.expires);
    key.tags = update.new_tags().unwrap_or(&old.tags).clone();
    if key.expires != old.expires && matches!(state, State::Deactivated | State::Compromised) {
        return Err(refuse(ErrorKind::KeyState, "its end has come"));
    }
    check_period(&key)?;
    if destroy {
        return Err(refuse(ErrorKind::KeyState, "deleted and purged, never so"));
    }
    if key.expires != old.expires {
        check_policy(&key, policy)?;
    }
    key.updated = now;
    Ok(key)
}

fn check_period(key: &Attributes) -> Result<()> {
    match (key.not_before, key.expires) {
        (Some(start), Some(end)) if end <= start => Err(refuse(
            ErrorKind::InvalidInput,
            "the end is before the start",
        )),
        _ => Ok(()),
    }
}

/// A version lives no longer than its policy says.
fn check_policy(key: &Attributes, policy: Option<&RotationPolicy>) -> Result<()> {
    match policy.and_then(|policy| policy.expiry(key.created)) {
        Some(last) if key.expires.is_none_or(|end| end > last) => {
            Err(refuse(ErrorKind::KeyState, "longer than the policy says"))
        }
        _ => Ok(()),
    }
}
