//! API tokens: who shows one is logged in as its principal, until it expires or is deleted.

use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Engine;
use super::keys::page_len;
use super::ledger::Change;
use super::record::{self, TokenRecord};
use super::session::{Asked, Done, EngineSession, Proof, not_audited};
use super::tree::{Changes, Records, damaged};
use super::users::{self, Standing};
use crate::audit::{Event, RequestId};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, invalid, limit};
use crate::limits::{TOKEN_LIFETIME_MAX, TOKENS_MAX};
use crate::policy::{DataAction, Permit};
use crate::request::{Page, PageRequest, Response, TokenInfo};
use crate::secret::SecretBytes;
use crate::service::{Principal, TokenName};
use crate::store::Space;

/// What every token begins with, so that people and scanners of leaked secrets know one when they see it.
const PREFIX: &[u8] = b"hsm_t_";
const ID_LEN: usize = 16;
const SECRET_LEN: usize = 32;
/// Base64url of id and secret, without padding.
const ENCODED_LEN: usize = (ID_LEN + SECRET_LEN) / 3 * 4;

/// Where the records of tokens stand, by name, and their names, by id. No other record of the space begins so.
const RECORDS: &str = "token/";
const NAMES: &str = "token-id/";

/// The token that opened a session.
#[derive(Debug)]
pub(super) struct UsedToken {
    name: TokenName,
    id: [u8; ID_LEN],
    pub(super) expires: Timestamp,
    /// What the principal was at login.
    standing: Standing,
}

/// A token that somebody shows: what it says of itself.
struct Shown {
    id: [u8; ID_LEN],
    hash: [u8; 32],
}

impl Shown {
    /// `None` if it cannot be a token.
    fn parse(token: &SecretBytes) -> Option<Self> {
        let encoded = token.expose().strip_prefix(PREFIX)?;
        if encoded.len() != ENCODED_LEN {
            return None;
        }
        let bytes = SecretBytes::try_init_with(ID_LEN + SECRET_LEN, |out| {
            Base64UrlUnpadded::decode(encoded, out).map(drop)
        });
        let bytes = bytes.ok()?;
        let (id, secret) = bytes.expose().split_first_chunk()?;
        Some(Self {
            id: *id,
            hash: Sha256::digest(secret).into(),
        })
    }
}

impl Engine {
    pub(super) async fn login_with_token(&self, token: SecretBytes) -> Result<Arc<EngineSession>> {
        let mut found = None;
        let result = self.check_token(&token, &mut found).await;
        drop(token);
        // Nobody, as far as the log goes, until the secret was right: no name reads so.
        let principal = result
            .as_ref()
            .map_or("?", |session| session.who().as_str());
        let target = found.map_or("/tokens".to_owned(), |name| token_target(&name));
        let recorded = self.0.audit.append(&Event {
            time: self.now(),
            request: RequestId::default(),
            principal: principal.into(),
            action: DataAction::Login,
            target: target.into(),
            version: None,
            algorithm: None,
            failure: result.as_ref().err().map(Error::kind),
            detail: if result.is_ok() { "logged in" } else { "" }.into(),
        });
        match (result, recorded) {
            (Ok(session), Ok(())) => Ok(Arc::new(session)),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(_)) if self.is_closed() => Err(error),
            (_, Err(source)) => Err(not_audited(source)),
        }
    }

    /// A session for the principal of a token. `found` is told the name of the token with the id that is shown.
    async fn check_token(
        &self,
        token: &SecretBytes,
        found: &mut Option<TokenName>,
    ) -> Result<EngineSession> {
        self.refresh().await?;
        let shown = Shown::parse(token).ok_or_else(refused)?;
        let now = self.now();
        let (record, standing) = self
            .view(|view| {
                // The same reads and the same comparison, whether there is such an id or not.
                let name: Option<TokenName> = record::get(view, Space::Meta, &name_key(shown.id))?;
                let place = name.as_ref().map_or("?", TokenName::as_str);
                let record: Option<TokenRecord> =
                    record::get(view, Space::Meta, &record_key(place))?;
                let expected = record.as_ref().map_or([0; 32], |record| record.hash);
                let right = bool::from(shown.hash.ct_eq(&expected));
                found.clone_from(&name);
                let Some(record) =
                    record.filter(|record| right && record.id == shown.id && now < record.expires)
                else {
                    return Ok(None);
                };
                let standing = users::standing(view, &record.principal)?;
                Ok(record.is_good_for(standing).then_some((record, standing)))
            })
            .await?
            .ok_or_else(refused)?;
        let used = UsedToken {
            name: record.name,
            id: record.id,
            expires: record.expires,
            standing,
        };
        EngineSession::open(self.clone(), record.principal, Proof::Token(used))
    }

    /// Whether the token is still there, and its principal who it was.
    pub(super) async fn token_is_current(
        &self,
        principal: &Principal,
        token: &UsedToken,
    ) -> Result<bool> {
        self.view(|view| {
            let record = read(view, &token.name)?;
            let same = record.is_some_and(|record| record.id == token.id);
            Ok(same && users::standing(view, principal)? == token.standing)
        })
        .await
    }

    pub(super) async fn create_token(
        &self,
        asked: Asked<'_>,
        name: TokenName,
        principal: Principal,
        expires: Timestamp,
    ) -> Result<Done> {
        let mut bytes = zeroize::Zeroizing::new(vec![0; ID_LEN + SECRET_LEN]);
        self.0.device.random(&mut bytes).await?;
        let token = SecretBytes::try_init_with(PREFIX.len() + ENCODED_LEN, |out| {
            let (prefix, encoded) = out.split_at_mut(PREFIX.len());
            prefix.copy_from_slice(PREFIX);
            Base64UrlUnpadded::encode(&bytes, encoded).map(drop)
        });
        let token = token.map_err(|source| {
            Error::new(ErrorKind::DeviceFailed, "the token cannot be written").with_source(source)
        })?;
        let shown = Shown::parse(&token)
            .ok_or_else(|| Error::new(ErrorKind::DeviceFailed, "the token cannot be read"))?;
        let change =
            Change::requested(asked.id, asked.principal, asked.permit, token_target(&name))
                .detail(format!("for {principal} until {expires}"));
        // A clock that is ahead by mistake must not destroy anything.
        let settled = self.0.time.is_settled();
        let info = self
            .change(change, move |changes, now| {
                check_lifetime(now, expires)?;
                if read(changes, &name)?.is_some() {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "there is a token {name} already; delete it, or choose another name"
                        ),
                    ));
                }
                make_room(changes, settled.then_some(now))?;
                let record = TokenRecord {
                    name: name.clone(),
                    user: users::created(changes, &principal)?,
                    principal: principal.clone(),
                    created: now,
                    expires,
                    id: shown.id,
                    hash: shown.hash,
                };
                let by_id = record::to_bytes(&record.name)?;
                changes.put(Space::Meta, &name_key(record.id), &by_id)?;
                let key = record_key(record.name.as_str());
                changes.put(Space::Meta, &key, &record::to_bytes(&record)?)?;
                Ok(record.info())
            })
            .await?;
        Ok(Done::change(Response::Token { token, info }))
    }

    pub(super) async fn list_tokens(&self, _permit: &Permit, page: PageRequest) -> Result<Done> {
        let limit = page_len(&page)?;
        let after = page.after.map(|after| record_key(&after));
        let found = self
            .view(|view| {
                let prefix = RECORDS.as_bytes();
                let rows = view.scan(Space::Meta, prefix, after.as_deref(), limit + 1)?;
                let items = rows
                    .iter()
                    .take(limit)
                    .map(|(_, value)| decode(value).map(|record| record.info()))
                    .collect::<Result<Vec<_>>>()?;
                let next = (rows.len() > limit)
                    .then(|| items.last().map(|last| last.name.to_string()))
                    .flatten();
                Ok(Page { items, next })
            })
            .await?;
        Ok(Done::read(Response::Tokens(found)))
    }

    pub(super) async fn delete_token(&self, asked: Asked<'_>, name: TokenName) -> Result<Done> {
        let change =
            Change::requested(asked.id, asked.principal, asked.permit, token_target(&name))
                .detail("deleted");
        self.change(change, move |changes, _| {
            let record = read(changes, &name)?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("there is no token {name}"))
            })?;
            remove(changes, &record)
        })
        .await?;
        Ok(Done::change(Response::Done))
    }
}

/// Deletes the tokens of a principal.
pub(super) fn remove_tokens_of(changes: &mut Changes<'_>, principal: &Principal) -> Result<()> {
    for record in all(changes)? {
        if record.principal == *principal {
            remove(changes, &record)?;
        }
    }
    Ok(())
}

/// Checks that there may be one token more. Expired ones stay in the list until their room is needed, or somebody deletes
/// them.
fn make_room(changes: &mut Changes<'_>, settled: Option<Timestamp>) -> Result<()> {
    let prefix = RECORDS.as_bytes();
    let mut count = changes.rows().count(Space::Meta, prefix, TOKENS_MAX + 1)? + 1;
    if let Some(now) = settled.filter(|_| count > TOKENS_MAX) {
        for expired in all(changes)?.iter().filter(|record| record.expires <= now) {
            remove(changes, expired)?;
            count -= 1;
        }
    }
    if count > TOKENS_MAX {
        return Err(limit("the number of tokens", count, TOKENS_MAX));
    }
    Ok(())
}

fn check_lifetime(now: Timestamp, expires: Timestamp) -> Result<()> {
    if expires <= now {
        return Err(invalid(format!(
            "the token would expire at {expires}, and it is {now}"
        )));
    }
    if expires.since(now) > TOKEN_LIFETIME_MAX {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "a token lives for at most {} days; make another one then",
                TOKEN_LIFETIME_MAX.as_secs() / 86_400
            ),
        ));
    }
    Ok(())
}

fn remove(changes: &mut Changes<'_>, record: &TokenRecord) -> Result<()> {
    changes.remove(Space::Meta, &name_key(record.id))?;
    changes.remove(Space::Meta, &record_key(record.name.as_str()))
}

fn read(records: &impl Records, name: &TokenName) -> Result<Option<TokenRecord>> {
    record::get(records, Space::Meta, &record_key(name.as_str()))
}

fn all(records: &impl Records) -> Result<Vec<TokenRecord>> {
    let rows = records.scan(Space::Meta, RECORDS.as_bytes(), None, TOKENS_MAX + 1)?;
    if rows.len() > TOKENS_MAX {
        return Err(damaged(format!("there are more than {TOKENS_MAX} tokens")));
    }
    rows.iter().map(|(_, value)| decode(value)).collect()
}

fn decode(value: &[u8]) -> Result<TokenRecord> {
    record::from_bytes("the record of a token", value)
}

fn record_key(name: &str) -> Vec<u8> {
    [RECORDS, name].concat().into_bytes()
}

fn name_key(id: [u8; ID_LEN]) -> Vec<u8> {
    format!("{NAMES}{:032x}", u128::from_be_bytes(id)).into_bytes()
}

/// One answer for every token that does not log in.
fn refused() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the token is unknown, was deleted or has expired, or its user is disabled",
    )
}

fn token_target(name: &TokenName) -> String {
    format!("/tokens/{name}")
}

impl TokenRecord {
    /// Whether its principal may log in. The token of a user is not that of a later user of the name, nor of nobody's:
    /// whoever has the store can hide a token from the deletion of its user.
    fn is_good_for(&self, standing: Standing) -> bool {
        match (standing, self.user) {
            (Standing::Disabled, _) | (Standing::NoUser, Some(_)) => false,
            (Standing::User { created, .. }, Some(user)) => user == created,
            (Standing::NoUser | Standing::User { .. }, None) => true,
        }
    }

    fn info(&self) -> TokenInfo {
        TokenInfo::new(
            self.name.clone(),
            self.principal.clone(),
            self.created,
            self.expires,
        )
    }
}
