//! Roles: what is not granted is refused, and a change counts at once, also for sessions that are open.

use hsm_core::attestation::{Nonce, Pcrs};
use hsm_core::policy::{
    ActionSet, BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId, Scope,
};
use hsm_core::{Algorithm, AttributesUpdate, Error, ErrorKind, KeyType, Request, Response};

use super::super::{fails, ok};
use super::*;

const AT_ONCE: &str = "a change of roles counts at the next call";

/// A refusal says what is missing and where.
pub async fn refusals_name_action_and_scope(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let user = opened.user("nobody").await;
    for (request, action, scope) in [
        (
            Request::GetKey { key: key("k") },
            DataAction::KeyRead,
            "/keys/k",
        ),
        (
            Request::DeleteKey { name: name("k") },
            DataAction::KeyDelete,
            "/keys/k",
        ),
        (
            Request::ListKeys {
                page: PageRequest::default(),
            },
            DataAction::KeyRead,
            "/keys",
        ),
        (Request::Random { len: 8 }, DataAction::RandomGenerate, "/"),
        (Request::ListAuditStreams, DataAction::AuditRead, "/"),
        (Request::GetSettings, DataAction::SettingsRead, "/"),
    ] {
        let error = refusal(user.call(request).await);
        assert_eq!(error.kind(), ErrorKind::Denied, "{action}: {error}");
        assert!(error.message().contains(action.name()), "{action}: {error}");
        assert!(error.message().contains(scope), "{action}: {error}");
    }
}

/// Who has no rights cannot tell a key that exists from one that does not.
pub async fn refusals_do_not_show_which_keys_exist(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    opened.all.create("live", KeyType::EcP256, SIGN).await;
    opened.all.create("dead", KeyType::EcP256, SIGN).await;
    ok(opened.all.delete("dead").await, "delete");
    let user = opened.user("nobody").await;
    let mut seen = Vec::new();
    for of in ["none", "live", "dead"] {
        let (key, name) = (key(of), || name(of));
        let requests = [
            Request::GetKey { key: key.clone() },
            Request::AttestKey {
                key: key.clone(),
                nonce: ok(Nonce::new([7; 16]), "a nonce"),
                pcrs: Pcrs::NONE,
            },
            Request::CreateKey {
                name: name(),
                new: new_key(KeyType::EcP256, SIGN),
            },
            Request::UpdateKey {
                key: key.clone(),
                update: AttributesUpdate::new(),
            },
            Request::DeleteKey { name: name() },
            Request::GetDeletedKey { name: name() },
            Request::RecoverKey { name: name() },
            Request::PurgeKey { name: name() },
            Request::RotateKey { name: name() },
            Request::GetRotationPolicy { name: name() },
            Request::Sign {
                key: key.clone(),
                algorithm: Algorithm::Es256,
                input: SignInput::Message(MESSAGE),
            },
            // Misfits are not looked at either.
            Request::Mac {
                key: key.clone(),
                algorithm: Algorithm::Hs256,
                message: MESSAGE,
            },
        ];
        let mut refusals = Vec::new();
        for request in requests {
            let error = refusal(user.call(request).await);
            refusals.push((error.kind(), error.to_string().replace(of, "NAME")));
        }
        seen.push(refusals);
    }
    assert_eq!(seen[1], seen[0], "a live key looks like none");
    assert_eq!(seen[2], seen[0], "a deleted key looks like none");
}

/// A grant and its end take effect for a session that is open.
pub async fn grants_and_revocations_count_at_once(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    opened.all.create("k", KeyType::EcP256, SIGN).await;
    let user = opened.user("app").await;
    let sign = || user.sign(key("k"), Algorithm::Es256, MESSAGE);
    fails(sign().await, &[ErrorKind::Denied], "no role yet");
    for _ in 0..2 {
        let role = BuiltInRole::CryptoUser.id();
        let assignment = opened.all.assign(role, "app", scope("/keys/k")).await;
        ok(sign().await, AT_ONCE);
        ok(opened.all.unassign(assignment.id).await, "revoke");
        fails(sign().await, &[ErrorKind::Denied], AT_ONCE);
    }
}

/// A role holds at its scope and below, and nowhere else.
pub async fn roles_hold_at_their_scope(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    for key in ["a", "a-b"] {
        opened.all.create(key, KeyType::EcP256, SIGN).await;
    }
    let user = opened.user("app").await;
    let role = BuiltInRole::CryptoUser.id();
    let list = || user.keys(PageRequest::default());
    let sign = |of: &'static str| {
        let user = user.clone();
        async move { user.sign(key(of), Algorithm::Es256, MESSAGE).await }
    };
    let one = opened.all.assign(role, "app", scope("/keys/a")).await;
    ok(sign("a").await, "a role at a key");
    fails(
        sign("a-b").await,
        &[ErrorKind::Denied],
        "a role at another key",
    );
    fails(
        list().await,
        &[ErrorKind::Denied],
        "a role at a key lists none",
    );
    ok(opened.all.unassign(one.id).await, "revoke");
    opened.all.assign(role, "app", Scope::Keys).await;
    ok(sign("a-b").await, "a role at /keys");
    ok(list().await, "a role at /keys");
    let purged = user.purge("a").await;
    let clause = "a crypto user does not purge";
    fails(purged, &[ErrorKind::Denied], clause);
}

/// A custom role allows what it says, also after it was changed, and goes when nobody has it.
pub async fn custom_roles_allow_what_they_say(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let all = &opened.all;
    all.create("k", KeyType::EcP256, SIGN).await;
    let user = opened.user("app").await;
    let id = RoleId::from_u128(42);
    let define = |actions: &[DataAction]| {
        let definition = RoleDefinition::new(id, "Signer", "signs", ActionSet::of(actions));
        let definition = ok(definition, "a role");
        all.call(Request::PutRoleDefinition { definition })
    };
    let sign = || user.sign(key("k"), Algorithm::Es256, MESSAGE);
    let read_key = key("k");
    let read = || user.get(&read_key);

    ok(define(&[DataAction::KeySign]).await, "define a role");
    let assignment = all.assign(id, "app", Scope::Keys).await;
    ok(sign().await, "the role allows to sign");
    fails(read().await, &[ErrorKind::Denied], "and nothing else");
    ok(define(&[DataAction::KeyRead]).await, "change the role");
    fails(sign().await, &[ErrorKind::Denied], AT_ONCE);
    ok(read().await, AT_ONCE);
    let roles = match ok(all.call(Request::ListRoleDefinitions).await, "list roles") {
        Response::RoleDefinitions(roles) => roles,
        other => unexpected("roles", &other),
    };
    assert_eq!(roles.len(), BuiltInRole::ALL.len() + 1);
    for (role, built_in) in roles.iter().zip(BuiltInRole::ALL) {
        assert_eq!(role.id, built_in.id(), "the built-in roles come first");
    }
    assert_eq!(roles.last().map(|role| role.id), Some(id));

    let delete = || all.call(Request::DeleteRoleDefinition { id });
    let clause = "a role that somebody has stays";
    fails(delete().await, &[ErrorKind::Conflict], clause);
    ok(all.unassign(assignment.id).await, "revoke");
    ok(delete().await, "delete a role");
    fails(
        delete().await,
        &[ErrorKind::NotFound],
        "a role is deleted once",
    );
}

/// Nobody changes or deletes a built-in role.
pub async fn built_in_roles_stay_as_they_are(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let mut definition = RoleDefinition::from(BuiltInRole::CryptoUser);
    definition.actions = DataAction::all().collect();
    let kinds = &[ErrorKind::InvalidInput];
    let put = opened.all.call(Request::PutRoleDefinition { definition });
    fails(put.await, kinds, "a built-in role is not changed");
    let id = BuiltInRole::CryptoUser.id();
    let deleted = opened.all.call(Request::DeleteRoleDefinition { id });
    fails(deleted.await, kinds, "a built-in role is not deleted");
}

/// There is always somebody who can assign roles.
pub async fn the_last_administrator_stays(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let all = &opened.all;
    // The officer may assign roles as well.
    for role in [BuiltInRole::CryptoOfficer, BuiltInRole::CryptoUser] {
        let assignment = assignment_of(all, role).await;
        ok(all.unassign(assignment.id).await, "one of several");
    }
    let last = assignment_of(all, BuiltInRole::Administrator).await;
    let removed = all.unassign(last.id).await;
    fails(
        removed,
        &[ErrorKind::Conflict],
        "the last administrator stays",
    );
    // A role at one key governs nothing.
    let administrator = BuiltInRole::Administrator.id();
    all.assign(administrator, "heir", scope("/keys/k")).await;
    let removed = all.unassign(last.id).await;
    fails(
        removed,
        &[ErrorKind::Conflict],
        "the last administrator stays",
    );
    all.assign(administrator, "heir", Scope::Global).await;
    ok(all.unassign(last.id).await, "there is an heir");
    let again = all.call(Request::ListRoleAssignments { scope: None });
    fails(again.await, &[ErrorKind::Denied], AT_ONCE);
}

/// An assignment is made once, of a role that exists, and is listed where it holds.
pub async fn assignments_are_made_once(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let all = &opened.all;
    let id = RoleId::from_u128(7);
    let assign = |id, role, scope| {
        all.call(Request::CreateRoleAssignment {
            id: Some(id),
            role,
            principal: principal("app"),
            scope,
        })
    };
    let role = BuiltInRole::CryptoAuditor.id();
    ok(assign(id, role, Scope::Keys).await, "assign");
    let kinds = &[ErrorKind::Conflict];
    let same_id = assign(id, role, Scope::Global).await;
    fails(same_id, kinds, "an id is taken once");
    let same = assign(RoleId::from_u128(8), role, Scope::Keys).await;
    fails(same, kinds, "the same assignment again");
    let unknown = assign(RoleId::from_u128(9), RoleId::from_u128(1), Scope::Keys).await;
    fails(
        unknown,
        &[ErrorKind::NotFound],
        "a role that does not exist",
    );
    let found = assignments(all, Some(Scope::Keys)).await;
    let found: Vec<_> = found.iter().map(|found| found.id).collect();
    assert_eq!(found, [id], "the assignments at /keys");
    ok(all.unassign(id).await, "revoke");
    let again = all.unassign(id).await;
    fails(
        again,
        &[ErrorKind::NotFound],
        "an assignment is deleted once",
    );
}

async fn assignment_of(caller: &Caller, role: BuiltInRole) -> RoleAssignment {
    let found = assignments(caller, None).await;
    let found = found.into_iter().find(|found| found.role == role.id());
    found.unwrap_or_else(|| panic!("nobody is {}", role.name()))
}

async fn assignments(caller: &Caller, scope: Option<Scope>) -> Vec<RoleAssignment> {
    let answer = caller.call(Request::ListRoleAssignments { scope }).await;
    match ok(answer, "list assignments") {
        Response::RoleAssignments(assignments) => assignments,
        other => unexpected("role assignments", &other),
    }
}

#[track_caller]
fn refusal(result: Result<Response>) -> Error {
    match result {
        Ok(response) => panic!("expected a refusal, got {response:?}"),
        Err(error) => error,
    }
}
