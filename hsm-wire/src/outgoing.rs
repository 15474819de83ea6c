//! [`Outgoing`]: the client's half of requests.

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_core::limits::DATA_LEN_MAX;
use hsm_core::policy::Scope;
use hsm_core::{Algorithm, Error, ErrorKind, KeyRef, Operation, Request, Result, SignInput};
use http::Method;

use crate::body::{crypto, key, partition, push_page, role, user};
use crate::read::{check_len, invalid};
use crate::route::scoped_path;
use crate::{API_VERSION, Body, EngineRoute as R};

/// A request on its way out.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outgoing {
    /// Where it goes.
    pub route: R,
    /// The method.
    pub method: Method,
    /// Path and query, with the api-version.
    pub target: String,
    /// JSON; empty where there is nothing to say. Wiped on drop.
    pub body: Body,
}

impl Outgoing {
    /// Writes a request. A message is hashed here if the algorithm signs digests: it does not travel.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for what cannot be said over HTTP, and
    /// [`InvalidInput`](ErrorKind::InvalidInput) and [`LimitExceeded`](ErrorKind::LimitExceeded) for what the HSM would
    /// refuse without looking at a key.
    pub fn new(request: &Request<'_>) -> Result<Self> {
        let (route, body) = route_and_body(request)?;
        Self::build(route, body)
    }

    fn build(route: R, body: Body) -> Result<Self> {
        let endpoint = route.endpoint();
        let target = target(&route)?;
        let method = Method::from_bytes(endpoint.method.as_bytes())
            .map_err(|_| invalid("the route has no method"))?;
        Ok(Self {
            route,
            method,
            target,
            body,
        })
    }
}

/// Every request has its place: this does not compile until a new one has.
fn route_and_body(request: &Request<'_>) -> Result<(R, Body)> {
    let none = Body::default;
    Ok(match request {
        Request::CreateKey { name, new } => (
            R::CreateKey { name: name.clone() },
            key::new_key(new, None, |_| {}),
        ),
        Request::ImportKey {
            name,
            new,
            material,
        } => (
            R::ImportKey { name: name.clone() },
            key::new_key(new, Some(material.expose()), |_| {}),
        ),
        Request::ImportWrappedKey {
            name,
            new,
            wrapping,
            algorithm,
            wrapped,
            format,
        } => (
            R::ImportWrappedKey { name: name.clone() },
            key::import_wrapped(new, wrapping, *algorithm, wrapped, *format)?,
        ),
        Request::ExportKey {
            key,
            wrapping,
            algorithm,
        } => (
            R::ExportKey { key: key.clone() },
            key::export(wrapping, *algorithm),
        ),
        Request::GetKey { key } => (R::GetKey { key: key.clone() }, none()),
        Request::AttestKey { key, nonce, pcrs } => (
            R::AttestKey {
                key: key.clone(),
                nonce: nonce.clone(),
                pcrs: *pcrs,
            },
            none(),
        ),
        Request::ListKeys { page } => (R::ListKeys { page: page.clone() }, none()),
        Request::ListVersions { name, page } => (
            R::ListVersions {
                name: name.clone(),
                page: page.clone(),
            },
            none(),
        ),
        Request::UpdateKey { key, update } => {
            (R::UpdateKey { key: key.clone() }, key::update(update))
        }
        Request::RotateKey { name } => (R::RotateKey { name: name.clone() }, none()),
        Request::GetRotationPolicy { name } => {
            (R::GetRotationPolicy { name: name.clone() }, none())
        }
        Request::SetRotationPolicy { name, policy } => (
            R::SetRotationPolicy { name: name.clone() },
            key::new_rotation_policy(policy.as_ref()),
        ),
        Request::DeleteKey { name } => (R::DeleteKey { name: name.clone() }, none()),
        Request::GetDeletedKey { name } => (R::GetDeletedKey { name: name.clone() }, none()),
        Request::ListDeletedKeys { page } => (R::ListDeletedKeys { page: page.clone() }, none()),
        Request::RecoverKey { name } => (R::RecoverKey { name: name.clone() }, none()),
        Request::PurgeKey { name } => (R::PurgeKey { name: name.clone() }, none()),
        Request::BackupKey { name } => (R::BackupKey { name: name.clone() }, none()),
        Request::RestoreKey { backup } => {
            check_len("value", backup.len(), crypto::BACKUP_LEN_MAX)?;
            (R::RestoreKey {}, crypto::value(backup))
        }

        Request::Sign {
            key,
            algorithm,
            input,
        } => {
            let bytes = signed(*algorithm, *input)?;
            let body = crypto::operation(*algorithm, &[("value", bytes.as_ref())]);
            (R::Sign { key: key.clone() }, body)
        }
        Request::Verify {
            key,
            algorithm,
            input,
            signature,
        } => {
            let bytes = signed(*algorithm, *input)?;
            let members = [("digest", bytes.as_ref()), ("value", data(signature)?)];
            let body = crypto::operation(*algorithm, &members);
            (R::Verify { key: key.clone() }, body)
        }
        Request::Mac {
            key,
            algorithm,
            message,
        } => {
            let body = crypto::operation(*algorithm, &[("value", data(message)?)]);
            let key = key.clone();
            match algorithm.does(Operation::Mac) {
                true => (R::Sign { key }, body),
                false => (R::Mac { key }, body),
            }
        }
        Request::VerifyMac {
            key,
            algorithm,
            message,
            tag,
        } => {
            let (message, tag) = (data(message)?, data(tag)?);
            let key = key.clone();
            if algorithm.does(Operation::Mac) {
                let members = [("digest", message), ("value", tag)];
                (R::Verify { key }, crypto::operation(*algorithm, &members))
            } else {
                let members = [("value", message), ("tag", tag)];
                (
                    R::VerifyMac { key },
                    crypto::operation(*algorithm, &members),
                )
            }
        }
        Request::Encrypt {
            key,
            algorithm,
            plaintext,
            iv,
            aad,
        } => {
            let mut members = vec![("value", data(plaintext)?)];
            members.extend(iv.map(|iv| ("iv", iv)));
            members.extend((!aad.is_empty()).then_some(("aad", *aad)));
            let body = crypto::operation(*algorithm, &members);
            (R::Encrypt { key: key.clone() }, body)
        }
        Request::Decrypt {
            key,
            algorithm,
            ciphertext,
            aad,
        } => {
            let mut members = vec![("value", data(ciphertext.ciphertext)?)];
            let more = [
                ("iv", ciphertext.iv),
                ("aad", *aad),
                ("tag", ciphertext.tag),
            ];
            members.extend(more.into_iter().filter(|(_, bytes)| !bytes.is_empty()));
            let body = crypto::operation(*algorithm, &members);
            (R::Decrypt { key: key.clone() }, body)
        }
        Request::Wrap {
            key,
            algorithm,
            plaintext,
        } => {
            let body = crypto::operation(*algorithm, &[("value", data(plaintext)?)]);
            (R::Wrap { key: key.clone() }, body)
        }
        Request::Unwrap {
            key,
            algorithm,
            wrapped,
        } => {
            let body = crypto::operation(*algorithm, &[("value", data(wrapped)?)]);
            (R::Unwrap { key: key.clone() }, body)
        }
        Request::Agree {
            key,
            algorithm,
            peer,
        } => (
            R::Agree { key: key.clone() },
            crypto::agree(*algorithm, peer)?,
        ),
        Request::Encapsulate { key, algorithm } => (
            R::Encapsulate { key: key.clone() },
            crypto::operation(*algorithm, &[]),
        ),
        Request::Decapsulate {
            key,
            algorithm,
            ciphertext,
        } => {
            let body = crypto::operation(*algorithm, &[("value", data(ciphertext)?)]);
            (R::Decapsulate { key: key.clone() }, body)
        }
        Request::Derive {
            key,
            algorithm,
            salt_or_label,
            info_or_context,
            len,
        } => (
            R::Derive { key: key.clone() },
            crypto::derive(*algorithm, salt_or_label, info_or_context, *len),
        ),
        Request::Random { len } => (R::Random {}, crypto::random(*len)),

        Request::ListRoleDefinitions => (
            R::ListRoleDefinitions {
                scope: Scope::Global,
                role_name: None,
            },
            none(),
        ),
        Request::PutRoleDefinition { definition } => (
            R::PutRoleDefinition {
                scope: Scope::Global,
                id: definition.id,
            },
            role::definition(definition),
        ),
        Request::DeleteRoleDefinition { id } => (
            R::DeleteRoleDefinition {
                scope: Scope::Global,
                id: *id,
            },
            none(),
        ),
        Request::ListRoleAssignments { scope } => (
            R::ListRoleAssignments {
                assigned_at: scope.clone(),
                assigned_to: None,
            },
            none(),
        ),
        Request::CreateRoleAssignment {
            id,
            role,
            principal,
            scope,
        } => match id {
            Some(id) => (
                R::PutRoleAssignment {
                    scope: scope.clone(),
                    id: *id,
                },
                role::new_assignment(*role, principal, None),
            ),
            None => (
                R::CreateRoleAssignment {},
                role::new_assignment(*role, principal, Some(scope)),
            ),
        },
        Request::DeleteRoleAssignment { id } => (
            R::DeleteRoleAssignment {
                scope: Scope::Global,
                id: *id,
            },
            none(),
        ),

        Request::CreateUser { name, password } => (
            R::CreateUser { user: name.clone() },
            user::new_user(password),
        ),
        Request::ListUsers { page } => (R::ListUsers { page: page.clone() }, none()),
        Request::UpdateUser { name, update } => {
            (R::UpdateUser { user: name.clone() }, user::update(update)?)
        }
        Request::DeleteUser { name } => (R::DeleteUser { user: name.clone() }, none()),
        Request::CreateToken {
            name,
            principal,
            expires,
        } => (
            R::CreateToken {
                token: name.clone(),
            },
            user::new_token(principal, *expires),
        ),
        Request::ListTokens { page } => (R::ListTokens { page: page.clone() }, none()),
        Request::DeleteToken { name } => (
            R::DeleteToken {
                token: name.clone(),
            },
            none(),
        ),
        Request::ChangePassword { old, new } => {
            (R::ChangePassword {}, user::password_change(old, new))
        }

        Request::GetSettings => (R::GetPartition {}, none()),
        Request::UpdateSettings { update } => (R::UpdatePartition {}, partition::update(update)),
        Request::ListAuditStreams => (R::ListAuditStreams {}, none()),
        Request::ReadAudit {
            stream,
            from,
            limit,
        } => (
            R::ReadAudit {
                stream: *stream,
                from: *from,
                limit: *limit,
            },
            none(),
        ),
        Request::Zeroize { confirm } => (R::Zeroize {}, partition::zeroize(*confirm)),
    })
}

/// What travels of what is signed: a digest, where the algorithm has a hash function.
enum Signed<'a> {
    Digest(Vec<u8>),
    Borrowed(&'a [u8]),
}

impl AsRef<[u8]> for Signed<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Digest(digest) => digest,
            Self::Borrowed(bytes) => bytes,
        }
    }
}

fn signed(algorithm: Algorithm, input: SignInput<'_>) -> Result<Signed<'_>> {
    data(input.as_bytes())?;
    if algorithm.does(Operation::Mac) {
        return Err(invalid(format!(
            "{algorithm} does not sign; ask for a message authentication code"
        )));
    }
    match (input, algorithm.hash()) {
        (SignInput::Message(message), None) => Ok(Signed::Borrowed(message)),
        (SignInput::Digest(_), None) => Err(invalid(format!("{algorithm} signs messages only"))),
        (SignInput::Digest(digest), Some(_)) => Ok(Signed::Borrowed(digest)),
        (SignInput::Message(_), Some(_)) => input.digest(algorithm).map(Signed::Digest),
    }
}

/// Data that is not too long to be sent.
fn data(bytes: &[u8]) -> Result<&[u8]> {
    check_len("value", bytes.len(), DATA_LEN_MAX)?;
    Ok(bytes)
}

/// Path and query.
fn target(route: &R) -> Result<String> {
    let endpoint = route.endpoint();
    let versioned = endpoint.needs_api_version();
    let mut target = path(route)?;
    target += "?";
    if versioned {
        target += &format!("api-version={API_VERSION}");
    }
    match route {
        R::ListKeys { page }
        | R::ListVersions { page, .. }
        | R::ListDeletedKeys { page }
        | R::ListUsers { page }
        | R::ListTokens { page } => push_page(&mut target, page.after.as_deref(), page.limit),
        R::ListRoleAssignments {
            assigned_at: Some(Scope::Global),
            ..
        } => target += "&$filter=atScope()",
        R::AttestKey { nonce, pcrs, .. } => {
            let nonce = Base64UrlUnpadded::encode_string(nonce.as_bytes());
            target += &format!("&nonce={nonce}");
            if !pcrs.is_empty() {
                target += &format!("&pcrs={pcrs}");
            }
        }
        R::ReadAudit { from, limit, .. } => target += &format!("from={from}&limit={limit}"),
        _ => {}
    }
    // Without a version, the first parameter comes with the sign for a further one.
    Ok(target
        .replacen("?&", "?", 1)
        .trim_end_matches('?')
        .to_owned())
}

/// The path of a route: that of the table with its parameters filled in.
fn path(route: &R) -> Result<String> {
    let of_key = |key: &KeyRef| {
        let version = key
            .version
            .map(|version| version.to_string())
            .unwrap_or_default();
        fill(route, &[("name", key.name.as_str()), ("version", &version)])
    };
    Ok(match route {
        // The latest version is that of the key itself.
        R::GetKey { key } | R::UpdateKey { key } if key.version.is_none() => {
            format!("/keys/{}", key.name)
        }
        R::GetKey { key }
        | R::UpdateKey { key }
        | R::Encrypt { key }
        | R::Decrypt { key }
        | R::Sign { key }
        | R::Verify { key }
        | R::Wrap { key }
        | R::Unwrap { key }
        | R::ExportKey { key }
        | R::Mac { key }
        | R::VerifyMac { key }
        | R::Agree { key }
        | R::Derive { key }
        | R::Encapsulate { key }
        | R::Decapsulate { key }
        | R::AttestKey { key, .. } => of_key(key),
        R::CreateKey { name }
        | R::RotateKey { name }
        | R::BackupKey { name }
        | R::ImportKey { name }
        | R::ImportWrappedKey { name }
        | R::DeleteKey { name }
        | R::ListVersions { name, .. }
        | R::GetRotationPolicy { name }
        | R::SetRotationPolicy { name }
        | R::GetDeletedKey { name }
        | R::PurgeKey { name }
        | R::RecoverKey { name } => fill(route, &[("name", name.as_str())]),
        R::ListRoleDefinitions { scope, .. } => scoped_path(scope, role::DEFINITIONS),
        R::GetRoleDefinition { scope, id }
        | R::PutRoleDefinition { scope, id }
        | R::DeleteRoleDefinition { scope, id } => {
            format!("{}/{id}", scoped_path(scope, role::DEFINITIONS))
        }
        R::ListRoleAssignments { assigned_at, .. } => scoped_path(
            assigned_at.as_ref().unwrap_or(&Scope::Global),
            role::ASSIGNMENTS,
        ),
        R::GetRoleAssignment { scope, id }
        | R::PutRoleAssignment { scope, id }
        | R::DeleteRoleAssignment { scope, id } => {
            format!("{}/{id}", scoped_path(scope, role::ASSIGNMENTS))
        }
        R::CreateUser { user } | R::UpdateUser { user } | R::DeleteUser { user } => {
            fill(route, &[("user", user.as_str())])
        }
        R::CreateToken { token } | R::DeleteToken { token } => {
            fill(route, &[("token", token.as_str())])
        }
        R::ReadAudit { stream, .. } => fill(route, &[("stream", &stream.to_string())]),
        R::GetSetting { .. } | R::UpdateSetting { .. } | R::ListSettings {} => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "our client asks for the partition",
            ));
        }
        R::RestoreKey {}
        | R::ListKeys { .. }
        | R::ListDeletedKeys { .. }
        | R::Random {}
        | R::CreateRoleAssignment {}
        | R::ListUsers { .. }
        | R::ListTokens { .. }
        | R::ChangePassword {}
        | R::GetPartition {}
        | R::UpdatePartition {}
        | R::Zeroize {}
        | R::ListAuditStreams {} => route.endpoint().path.to_owned(),
    })
}

/// The row's path with values for its parameters, none of which needs encoding.
fn fill(route: &R, values: &[(&str, &str)]) -> String {
    let mut path = route.endpoint().path.to_owned();
    for (name, value) in values {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    path
}
