//! Bodies, in both directions: [`request`] and [`reply`] are the server's, [`response`] is the client's; what the client
//! writes is beside what the server reads.

pub(crate) mod audit;
pub(crate) mod crypto;
pub(crate) mod key;
pub(crate) mod partition;
pub(crate) mod role;
pub(crate) mod user;

pub mod server;

use hsm_core::{Error, ErrorKind, Page, PageRequest, Request, Response, Result};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::json::Json;
use crate::{API_VERSION, Body, Buffers, EngineRoute as R, Reply, error};

/// Room for a short answer: most need no more.
pub(crate) const SHORT_LEN: usize = 512;

/// What stands in a query as it is (RFC 3986 section 2.3).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(crate) fn request<'b>(route: &R, body: &[u8], buffers: &'b mut Buffers) -> Result<Request<'b>> {
    match route {
        R::CreateKey { name } => key::read_create(name, body),
        R::ImportKey { name } => key::read_import(name, body, buffers),
        R::ImportWrappedKey { name } => key::read_import_wrapped(name, body, buffers),
        R::ExportKey { key } => key::read_export(key, body),
        R::UpdateKey { key } => key::read_update(key, body),
        R::SetRotationPolicy { name } => key::read_rotation_policy(name, body),
        R::RestoreKey {} => key::read_restore(body, buffers),
        R::GetKey { key } => Ok(Request::GetKey { key: key.clone() }),
        R::AttestKey { key, nonce, pcrs } => Ok(Request::AttestKey {
            key: key.clone(),
            nonce: nonce.clone(),
            pcrs: *pcrs,
        }),
        R::ListKeys { page } => Ok(Request::ListKeys { page: page.clone() }),
        R::ListVersions { name, page } => Ok(Request::ListVersions {
            name: name.clone(),
            page: page.clone(),
        }),
        R::RotateKey { name } => Ok(Request::RotateKey { name: name.clone() }),
        R::GetRotationPolicy { name } => Ok(Request::GetRotationPolicy { name: name.clone() }),
        R::DeleteKey { name } => Ok(Request::DeleteKey { name: name.clone() }),
        R::BackupKey { name } => Ok(Request::BackupKey { name: name.clone() }),
        R::ListDeletedKeys { page } => Ok(Request::ListDeletedKeys { page: page.clone() }),
        R::GetDeletedKey { name } => Ok(Request::GetDeletedKey { name: name.clone() }),
        R::PurgeKey { name } => Ok(Request::PurgeKey { name: name.clone() }),
        R::RecoverKey { name } => Ok(Request::RecoverKey { name: name.clone() }),

        R::Sign { key } => crypto::read_sign(key, body, buffers),
        R::Verify { key } => crypto::read_verify(key, body, buffers),
        R::Mac { key } => crypto::read_mac(key, body, buffers),
        R::VerifyMac { key } => crypto::read_verify_mac(key, body, buffers),
        R::Encrypt { key } => crypto::read_encrypt(key, body, buffers),
        R::Decrypt { key } => crypto::read_decrypt(key, body, buffers),
        R::Wrap { key } => crypto::read_wrap(key, body, buffers),
        R::Unwrap { key } => crypto::read_unwrap(key, body, buffers),
        R::Agree { key } => crypto::read_agree(key, body, buffers),
        R::Encapsulate { key } => crypto::read_encapsulate(key, body),
        R::Decapsulate { key } => crypto::read_decapsulate(key, body, buffers),
        R::Derive { key } => crypto::read_derive(key, body, buffers),
        R::Random {} => crypto::read_random(body),

        R::ListRoleDefinitions { .. } | R::GetRoleDefinition { .. } => {
            Ok(Request::ListRoleDefinitions)
        }
        R::PutRoleDefinition { id, .. } => role::read_definition(*id, body),
        R::DeleteRoleDefinition { id, .. } => Ok(Request::DeleteRoleDefinition { id: *id }),
        R::ListRoleAssignments { assigned_at, .. } => Ok(Request::ListRoleAssignments {
            scope: assigned_at.clone(),
        }),
        R::GetRoleAssignment { scope, .. } => Ok(Request::ListRoleAssignments {
            scope: Some(scope.clone()),
        }),
        R::PutRoleAssignment { scope, id } => role::read_assignment(scope, *id, body),
        R::CreateRoleAssignment {} => role::read_new_assignment(body),
        R::DeleteRoleAssignment { id, .. } => Ok(Request::DeleteRoleAssignment { id: *id }),

        R::ListSettings {} | R::GetSetting { .. } | R::GetPartition {} => Ok(Request::GetSettings),
        R::UpdateSetting { setting } => partition::read_setting(setting, body),
        R::UpdatePartition {} => partition::read_update(body),
        R::Zeroize {} => partition::read_zeroize(body),

        R::ListUsers { page } => Ok(Request::ListUsers { page: page.clone() }),
        R::CreateUser { user } => user::read_create(user, body),
        R::UpdateUser { user } => user::read_update(user, body),
        R::DeleteUser { user } => Ok(Request::DeleteUser { name: user.clone() }),
        R::ListTokens { page } => Ok(Request::ListTokens { page: page.clone() }),
        R::CreateToken { token } => user::read_token(token, body),
        R::DeleteToken { token } => Ok(Request::DeleteToken {
            name: token.clone(),
        }),
        R::ChangePassword {} => user::read_password_change(body),

        R::ListAuditStreams {} => Ok(Request::ListAuditStreams),
        R::ReadAudit {
            stream,
            from,
            limit,
        } => Ok(Request::ReadAudit {
            stream: *stream,
            from: *from,
            limit: *limit,
        }),
    }
}

pub(crate) fn reply(route: &R, result: Result<Response>, base: &str) -> Reply {
    let response = match (route, result) {
        // Key Vault answers that the signature is wrong; it is no error.
        (R::Verify { .. } | R::VerifyMac { .. }, Err(error))
            if error.kind() == ErrorKind::CryptoFailed =>
        {
            return Reply::new(StatusCode::OK, crypto::verified(false));
        }
        // The old password was wrong: whoever asks is known all the same, and need not show another token.
        (R::ChangePassword { .. }, Err(error)) if error.kind() == ErrorKind::Unauthenticated => {
            return Reply {
                status: StatusCode::FORBIDDEN,
                ..Reply::error(&error)
            };
        }
        (_, Err(error)) => return error::reply_to(route, &error),
        (_, Ok(response)) => response,
    };
    let body = match (route, response) {
        (R::PurgeKey { .. }, Response::Done) => {
            return Reply::new(StatusCode::NO_CONTENT, Body::default());
        }
        (R::Verify { .. } | R::VerifyMac { .. }, Response::Done) => crypto::verified(true),
        (_, Response::Done) => Json::object_of(2, |_| {}),
        (_, Response::Key(info)) => key::bundle(route, &info, base),
        (R::ListVersions { name, page }, Response::Keys(keys)) => {
            key::items(&keys, page, &["/keys/", name.as_str(), "/versions"], base)
        }
        (R::ListDeletedKeys { page }, Response::Keys(keys)) => {
            key::items(&keys, page, &["/deletedkeys"], base)
        }
        (R::ListKeys { page }, Response::Keys(keys)) => key::items(&keys, page, &["/keys"], base),
        (
            R::GetRotationPolicy { name } | R::SetRotationPolicy { name },
            Response::RotationPolicy(policy),
        ) => key::rotation_policy(name, policy.as_ref(), base),
        (_, Response::Signature { bytes, version }) => {
            crypto::result(route, Some(version), &bytes, base)
        }
        (_, Response::Evidence { evidence, version }) => {
            crypto::result(route, Some(version), evidence.as_bytes(), base)
        }
        (_, Response::Wrapped { bytes, version }) => {
            crypto::result(route, Some(version), &bytes, base)
        }
        (
            _,
            Response::Ciphertext {
                ciphertext,
                version,
            },
        ) => crypto::encrypted(route, version, &ciphertext, base),
        (
            _,
            Response::Encapsulated {
                encapsulated,
                version,
            },
        ) => crypto::encapsulated(route, version, &encapsulated, base),
        (_, Response::Secret(secret)) => crypto::result(route, None, secret.expose(), base),
        (_, Response::Backup(bytes)) => crypto::value(&bytes),
        (R::GetRoleDefinition { id, .. }, Response::RoleDefinitions(roles)) => {
            match roles.iter().find(|role| role.id == *id) {
                Some(role) => role::definition(role),
                None => return error::reply_to(route, &not_found("role definition")),
            }
        }
        (R::ListRoleDefinitions { role_name, .. }, Response::RoleDefinitions(roles)) => {
            role::definitions(&roles, role_name.as_deref())
        }
        (_, Response::RoleDefinition(role)) => {
            let body = role::definition(&role);
            return Reply::new(status_of(route), body);
        }
        (R::GetRoleAssignment { id, .. }, Response::RoleAssignments(assignments)) => {
            match assignments.iter().find(|assignment| assignment.id == *id) {
                Some(assignment) => role::assignment(assignment),
                None => return error::reply_to(route, &not_found("role assignment")),
            }
        }
        (R::ListRoleAssignments { assigned_to, .. }, Response::RoleAssignments(assignments)) => {
            role::assignments(&assignments, assigned_to.as_ref())
        }
        (_, Response::RoleAssignment(assignment)) => {
            let body = role::assignment(&assignment);
            return Reply::new(status_of(route), body);
        }
        (R::ListSettings {}, Response::Partition(partition)) => partition::settings(&partition),
        (R::GetSetting { setting } | R::UpdateSetting { setting }, Response::Partition(info)) => {
            match partition::setting(&info, setting) {
                Some(body) => body,
                None => return error::reply_to(route, &not_found("setting")),
            }
        }
        (_, Response::Partition(info)) => partition::partition(&info),
        (R::ListUsers { page }, Response::Users(users)) => user::users(&users, page, base),
        (R::ListTokens { page }, Response::Tokens(tokens)) => user::tokens(&tokens, page, base),
        (_, Response::Token { token, info }) => {
            return Reply::new(StatusCode::CREATED, user::token(&token, &info));
        }
        (_, Response::AuditStreams(streams)) => audit::streams(&streams),
        (_, Response::AuditRecords(frames)) => audit::records(&frames),
        // An answer to another question: what happened, nobody can say.
        (_, _) => {
            return Reply::error(&Error::new(
                ErrorKind::Unknown,
                "the HSM answered something else than what was asked",
            ));
        }
    };
    Reply::new(status_of(route), body)
}

fn status_of(route: &R) -> StatusCode {
    match route {
        R::PutRoleDefinition { .. }
        | R::PutRoleAssignment { .. }
        | R::CreateRoleAssignment {}
        | R::CreateUser { .. } => StatusCode::CREATED,
        _ => StatusCode::OK,
    }
}

fn not_found(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no such {what}"))
}

pub(crate) fn response(route: &R, body: &[u8]) -> Result<Response> {
    let response = match route {
        R::CreateKey { .. }
        | R::ImportKey { .. }
        | R::ImportWrappedKey { .. }
        | R::GetKey { .. }
        | R::UpdateKey { .. }
        | R::RotateKey { .. }
        | R::DeleteKey { .. }
        | R::GetDeletedKey { .. }
        | R::RecoverKey { .. }
        | R::RestoreKey {} => key::read_bundle(body),
        R::ListKeys { .. } | R::ListVersions { .. } | R::ListDeletedKeys { .. } => {
            key::read_items(body)
        }
        R::GetRotationPolicy { .. } | R::SetRotationPolicy { .. } => {
            key::read_rotation_policy_reply(body)
        }
        R::BackupKey { .. } => crypto::read_backup(body),
        R::AttestKey { .. } => crypto::read_evidence(body),
        R::Sign { .. } | R::Mac { .. } => crypto::read_signature(body),
        R::Wrap { .. } | R::ExportKey { .. } => crypto::read_wrapped(body),
        R::Verify { .. } | R::VerifyMac { .. } => crypto::read_verified(body),
        R::Encrypt { .. } => crypto::read_encrypted(body),
        R::Decrypt { .. }
        | R::Unwrap { .. }
        | R::Agree { .. }
        | R::Decapsulate { .. }
        | R::Derive { .. }
        | R::Random {} => crypto::read_secret(body),
        R::Encapsulate { .. } => crypto::read_encapsulated(body),

        R::ListRoleDefinitions { .. } => role::read_definitions(body),
        R::GetRoleDefinition { .. }
        | R::PutRoleDefinition { .. }
        | R::DeleteRoleDefinition { .. } => role::read_definition_reply(body),
        R::ListRoleAssignments { .. } => role::read_assignments(body),
        R::GetRoleAssignment { .. }
        | R::PutRoleAssignment { .. }
        | R::CreateRoleAssignment {}
        | R::DeleteRoleAssignment { .. } => role::read_assignment_reply(body),

        R::GetPartition {} | R::UpdatePartition {} => partition::read_partition(body),
        R::ListUsers { .. } => user::read_users(body),
        R::ListTokens { .. } => user::read_tokens(body),
        R::CreateToken { .. } => user::read_token_reply(body),
        R::ListAuditStreams {} => audit::read_streams(body),
        R::ReadAudit { .. } => audit::read_records(body),

        R::PurgeKey { .. }
        | R::ListSettings {}
        | R::GetSetting { .. }
        | R::UpdateSetting { .. }
        | R::Zeroize {}
        | R::CreateUser { .. }
        | R::UpdateUser { .. }
        | R::DeleteUser { .. }
        | R::DeleteToken { .. }
        | R::ChangePassword {} => Ok(Response::Done),
    };
    response.map_err(|error| error::answer_makes_no_sense(route, error))
}

/// Where the next page is, as Key Vault says it: an address, or `null`.
pub(crate) fn next_link<T>(
    json: &mut Json,
    page: &Page<T>,
    asked: &PageRequest,
    path: &[&str],
    base: &str,
) {
    let json = json.name("nextLink");
    let Some(next) = &page.next else {
        return json.null();
    };
    let mut link = format!("{base}{}?api-version={API_VERSION}", path.concat());
    push_page(&mut link, Some(next), asked.limit);
    json.text(&link);
}

/// Adds what a page is asked for by.
pub(crate) fn push_page(target: &mut String, after: Option<&str>, limit: Option<usize>) {
    if let Some(limit) = limit {
        let name = match (1..=hsm_core::limits::PAGE_LEN_DEFAULT).contains(&limit) {
            true => "maxresults",
            false => "hsm-maxresults",
        };
        *target += &format!("&{name}={limit}");
    }
    if let Some(after) = after {
        *target += "&$skiptoken=";
        target.extend(utf8_percent_encode(after, QUERY));
    }
}

/// The place that a `nextLink` goes on from.
pub(crate) fn read_next_link(link: Option<&str>) -> Option<String> {
    let link = link.filter(|link| !link.is_empty())?;
    let query = link.split_once('?').map_or("", |(_, query)| query);
    let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| decode(name) == "$skiptoken")
        .map(|(_, value)| decode(value).into_owned())
}
