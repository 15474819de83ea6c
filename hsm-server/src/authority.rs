//! The token authority that `hsm serve --dev` has built in, so that official clients and the `az` program get tokens as they
//! are used to: with a tenant, a client id and a client secret. Here these are a user's name and password.
//!
//! | path | what |
//! |---|---|
//! | `/TENANT/v2.0/.well-known/openid-configuration` | OpenID Connect discovery |
//! | `/TENANT/discovery/v2.0/keys` | the key that signs tokens, as a JWK set |
//! | `POST /TENANT/oauth2/v2.0/token`, `…/oauth2/token` | client credentials (RFC 6749 section 4.4) for a token |
//! | `/common/discovery/instance` | which hosts are one authority |
//! | `/metadata/endpoints`, `/subscriptions`, `/tenants` | what `az cloud register` and `az login` ask a resource manager |
//!
//! Tokens are signed by a key in an HSM of its own beside the partition's, so that they outlive the process. They last an
//! hour by the system's clock, also where a test clock runs ahead: clients keep them that long.

use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_client::kinds::RsaPkcs1v15Sign2048;
use hsm_client::{
    BuiltInRole, Clock, Credentials, Error, ErrorKind, Hsm, Principal, Result, Scope, Session,
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::identity::{Identities, KeySet};

mod form;
mod resource_manager;
#[cfg(test)]
mod tests;

use form::Form;

/// How long a token lasts, in seconds.
const TOKEN_LIFETIME: u64 = 60 * 60;
/// The key that signs tokens.
const KEY: &str = "tokens";
/// Who signs them, in the authority's own HSM.
const SIGNER: &str = "authority";
/// What clients of the real services ask tokens for, where they do not look at the challenge.
const WELL_KNOWN_AUDIENCES: [&str; 2] = ["https://managedhsm.azure.net", "https://vault.azure.net"];

/// An authority for the users of one partition.
#[derive(Debug)]
pub struct Authority {
    users: Hsm,
    signer: Hsm,
    clock: Arc<dyn Clock>,
    tenant: String,
    /// Host names with the port, the first of which is the authority's own.
    hosts: Vec<String>,
    key_id: String,
    /// The JWK set.
    keys: Vec<u8>,
}

/// A request for a token that is refused (RFC 6749 section 5.2).
struct Problem {
    status: StatusCode,
    error: &'static str,
    /// As the real authority numbers them; clients print it.
    code: u32,
    description: String,
    retry_after: Option<u64>,
}

impl Authority {
    /// Makes what [`open`](Self::open) needs in a new HSM: the key, and who uses it.
    pub(crate) async fn prepare(signer: &Hsm, administrator: Session) -> Result<()> {
        administrator
            .assign_role(BuiltInRole::CryptoUser, SIGNER, Scope::Keys)
            .await?;
        let session = signing_session(signer).await?;
        session.create::<RsaPkcs1v15Sign2048>(KEY).await?;
        Ok(())
    }

    /// An authority for `users` that signs with the key in `signer`. `names` are the server's own, without port.
    pub(crate) async fn open(
        users: Hsm,
        signer: Hsm,
        clock: Arc<dyn Clock>,
        tenant: String,
        names: &[&str],
        port: u16,
    ) -> Result<Self> {
        let session = signing_session(&signer).await?;
        let key = session.key::<RsaPkcs1v15Sign2048>(KEY).await?;
        let public = key.public_key().await?;
        let key_id = Base64UrlUnpadded::encode_string(&public.thumbprint()?);
        let mut jwk = public.to_jwk()?;
        jwk.kid = Some(key_id.clone());
        jwk.public_key_use = Some("sig".to_owned());
        jwk.alg = Some("RS256".to_owned());
        session.logout().await;
        Ok(Self {
            users,
            signer,
            clock,
            tenant,
            hosts: names.iter().map(|name| with_port(name, port)).collect(),
            key_id,
            keys: json!({ "keys": [jwk] }).to_string().into_bytes(),
        })
    }

    /// Has the server take the tokens.
    pub(crate) fn trusted_by(&self, identities: Identities) -> Result<Identities> {
        let keys = KeySet::parse(&self.keys).map_err(|source| {
            Error::new(ErrorKind::InvalidInput, "the authority's keys").with_source(source)
        })?;
        Ok(identities.trust(self.issuer(), self.tenant.clone(), self.audiences(), keys))
    }

    /// The answer to a request, if it is for one of the authority's paths.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<Response<Bytes>> {
        let base = self.base(headers);
        let parts: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        let value = match parts.as_slice() {
            ["common", "discovery", "instance"] => self.instance(&base),
            [tenant, "v2.0", ".well-known", "openid-configuration"]
            | [tenant, ".well-known", "openid-configuration"]
                if self.is_tenant(tenant) =>
            {
                self.configuration(&base)
            }
            [tenant, "discovery", "v2.0", "keys"] | [tenant, "discovery", "keys"]
                if self.is_tenant(tenant) =>
            {
                let keys = Bytes::copy_from_slice(&self.keys);
                return Some(only(method, &Method::GET, || answer(StatusCode::OK, keys)));
            }
            [tenant, "oauth2", "v2.0", "token"] if self.is_tenant(tenant) => {
                return Some(self.token_answer(method, headers, body, "2.0").await);
            }
            [tenant, "oauth2", "token"] if self.is_tenant(tenant) => {
                return Some(self.token_answer(method, headers, body, "1.0").await);
            }
            rest => resource_manager::answer(rest, &base, &self.tenant)?,
        };
        Some(only(method, &Method::GET, || {
            answer(StatusCode::OK, value.to_string().into())
        }))
    }

    fn is_tenant(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(&self.tenant)
    }

    /// `iss`.
    fn issuer(&self) -> String {
        format!("https://{}/{}/v2.0", self.hosts[0], self.tenant)
    }

    /// What a token may be for: the server under each of its names, as clients write them.
    fn audiences(&self) -> Vec<String> {
        let own = self.hosts.iter().map(|host| format!("https://{host}"));
        let known = WELL_KNOWN_AUDIENCES.map(str::to_owned);
        own.chain(known)
            .flat_map(|audience| [format!("{audience}/"), audience])
            .collect()
    }

    /// The server's URL as the client knows it. A name that is not the server's is not repeated.
    fn base(&self, headers: &HeaderMap) -> String {
        let asked = headers.get(HOST).and_then(|host| host.to_str().ok());
        let known = self
            .hosts
            .iter()
            .find(|host| asked.is_some_and(|asked| host.eq_ignore_ascii_case(asked)));
        format!("https://{}", known.unwrap_or(&self.hosts[0]))
    }

    fn configuration(&self, base: &str) -> Value {
        let tenant = &self.tenant;
        json!({
            "issuer": self.issuer(),
            "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
            "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "response_types_supported": ["token"],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn instance(&self, base: &str) -> Value {
        let tenant = &self.tenant;
        json!({
            "tenant_discovery_endpoint": format!("{base}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{
                "preferred_network": self.hosts[0],
                "preferred_cache": self.hosts[0],
                "aliases": self.hosts,
            }],
        })
    }

    async fn token_answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: &[u8],
        version: &str,
    ) -> Response<Bytes> {
        if method != Method::POST {
            return only(method, &Method::POST, || {
                answer(StatusCode::OK, Bytes::new())
            });
        }
        match self.token(headers, body, version).await {
            Ok(token) => {
                let mut response = answer(StatusCode::OK, token.to_string().into());
                response
                    .headers_mut()
                    .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(problem) => problem.into_response(),
        }
    }

    async fn token(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        version: &str,
    ) -> Result<Value, Problem> {
        let form = Form::parse(headers, body).map_err(|what| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_request", 900_144, what)
        })?;
        if form.grant_type != "client_credentials" {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                70_003,
                "this authority has client_credentials only",
            ));
        }
        let audience = self.audience(&form)?;
        let user = self.log_in(&form).await?;
        let now = self.clock.now().unix_seconds();
        let expires = now + TOKEN_LIFETIME;
        let claims = json!({
            "aud": audience,
            "iss": self.issuer(),
            "iat": now,
            "nbf": now,
            "exp": expires,
            "appid": user.as_str(),
            "azp": user.as_str(),
            "idtyp": "app",
            "oid": user.as_str(),
            "sub": user.as_str(),
            "tid": self.tenant,
            "ver": version,
        });
        let token = self.sign(&claims).await.map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                90_033,
                "the token could not be signed",
            )
        })?;
        let mut answer = json!({
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME,
            "ext_expires_in": TOKEN_LIFETIME,
            "access_token": token,
        });
        if version == "1.0" {
            answer["expires_in"] = TOKEN_LIFETIME.to_string().into();
            answer["expires_on"] = expires.to_string().into();
            answer["not_before"] = now.to_string().into();
            answer["resource"] = audience.into();
        }
        Ok(answer)
    }

    /// What the token is to be for: `resource`, or the one in `scope` that ends with `/.default`.
    fn audience(&self, form: &Form) -> Result<String, Problem> {
        let asked = match (&form.resource, &form.scope) {
            (Some(resource), _) => Some(resource.as_str()),
            (None, Some(scope)) => scope
                .split(' ')
                .find_map(|scope| scope.strip_suffix("/.default")),
            (None, None) => None,
        };
        let asked = asked.ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_scope",
                70_011,
                "the scope is a resource and /.default",
            )
        })?;
        self.audiences()
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(asked))
            .ok_or_else(|| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_resource",
                    500_011,
                    format!("this server has tokens for https://{} only", self.hosts[0]),
                )
            })
    }

    /// The user of a name and password.
    async fn log_in(&self, form: &Form) -> Result<Principal, Problem> {
        let wrong = || {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                7_000_215,
                "the client id or the client secret is wrong: they are a user's name and password",
            )
        };
        let credentials = Credentials::password(&form.client_id, form.client_secret.as_bytes())
            .map_err(|_| wrong())?;
        let session =
            self.users
                .login_with(credentials)
                .await
                .map_err(|error| match error.kind() {
                    ErrorKind::Unauthenticated => wrong(),
                    ErrorKind::LockedOut | ErrorKind::LimitExceeded => {
                        let wait = error.retry_after().map_or(1, |wait| wait.as_secs().max(1));
                        let mut problem = Problem::new(
                            StatusCode::TOO_MANY_REQUESTS,
                            "temporarily_unavailable",
                            50_053,
                            error.message(),
                        );
                        problem.retry_after = Some(wait);
                        problem
                    }
                    _ => {
                        tracing::error!(%error, "a login for a token failed");
                        Problem::new(
                            StatusCode::SERVICE_UNAVAILABLE,
                            "temporarily_unavailable",
                            90_033,
                            "the partition cannot check the password now",
                        )
                    }
                })?;
        let user = session.principal().clone();
        session.logout().await;
        Ok(user)
    }

    /// A token with these claims (RFC 7515 section 3.1).
    async fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": self.key_id });
        let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(claims));
        let session = signing_session(&self.signer).await?;
        let key = session.key::<RsaPkcs1v15Sign2048>(KEY).await?;
        let signature = key.sign(signed.as_bytes()).await?;
        session.logout().await;
        let signature = Base64UrlUnpadded::encode_string(signature.bytes());
        Ok(format!("{signed}.{signature}"))
    }
}

/// A session of the one who signs. Nobody knows a password of that name.
async fn signing_session(signer: &Hsm) -> Result<Session> {
    let credentials = Credentials::Authenticated(Principal::new(SIGNER)?);
    signer.login_with(credentials).await
}

impl Problem {
    fn new(
        status: StatusCode,
        error: &'static str,
        code: u32,
        description: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error,
            code,
            description: description.into(),
            retry_after: None,
        }
    }

    fn into_response(self) -> Response<Bytes> {
        tracing::info!(
            error = self.error,
            status = self.status.as_u16(),
            "no token"
        );
        let body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{}: {}", self.code, self.description),
            "error_codes": [self.code],
        });
        let mut response = answer(self.status, body.to_string().into());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The answer, or that the path takes another method.
fn only(
    method: &Method,
    expected: &Method,
    respond: impl FnOnce() -> Response<Bytes>,
) -> Response<Bytes> {
    if method == expected {
        return respond();
    }
    let body = json!({ "error": "invalid_request", "error_description": format!("this path takes {expected}") });
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, body.to_string().into());
    if let Ok(allow) = HeaderValue::from_str(expected.as_str()) {
        response.headers_mut().insert(http::header::ALLOW, allow);
    }
    response
}

fn answer(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}

/// A host with its port, as URLs and the header `Host` have it.
pub(crate) fn with_port(name: &str, port: u16) -> String {
    match port {
        443 => name.to_owned(),
        port => format!("{name}:{port}"),
    }
}
