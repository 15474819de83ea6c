//! [`Route`]: the one table of methods and paths.

mod path;

use std::sync::LazyLock;

use hsm_core::attestation::{Nonce, Pcrs};
use hsm_core::audit::StreamId;
use hsm_core::policy::{RoleId, Scope};
use hsm_core::{KeyName, KeyRef, PageRequest, Principal, TokenName};
use http::Method;

use self::path::{Captured, PROVIDERS, Query, Segments};
use crate::API_VERSIONS;

/// Where a request goes: the method and path, parsed. Routes that ask the engine for something carry what the path and
/// query say; [`EngineRoute::request`] adds the body.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Route {
    /// A request for the engine.
    Engine(EngineRoute),
    /// What the server answers by itself.
    Server(ServerRoute),
    /// An operation of the real services that is not there yet: 501.
    NotYet(&'static str),
}

/// What the server answers by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ServerRoute {
    /// `POST /hsm/v1/sessions`: a user's name and password for a session token.
    Login,
    /// `GET /hsm/v1/sessions/current`: who the token or connection stands for.
    WhoAmI,
    /// `DELETE /hsm/v1/sessions/current`.
    Logout,
    /// `GET /hsm/v1/clock`.
    ReadClock,
    /// `POST /hsm/v1/clock`: moves the test clock ahead.
    AdvanceClock,
    /// `GET /healthz`: the process is there.
    Health,
    /// `GET /readyz`: requests can be served.
    Ready,
    /// `GET /hsm/v1/openapi.json`.
    OpenApi,
}

/// Why there is no route.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Misrouted {
    /// No such path: 404.
    NotFound,
    /// The path is there, with other methods: 405 and `Allow`.
    Method(&'static str),
    /// A name, version, id or query parameter is malformed: 400, saying what was expected.
    BadParameter(String),
}

/// A row of the table of routes, for metrics and the OpenAPI document.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Endpoint {
    /// A name for metrics and logs: `sign`, `create_key`.
    pub operation: &'static str,
    /// The method.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// Other spellings of the path.
    pub also: &'static [&'static str],
    /// Whether it is there: an operation that is not answers 501.
    pub implemented: bool,
    answers: Answers,
}

#[derive(Clone, Copy)]
enum Answers {
    Engine(fn(&Captured<'_>) -> Result<EngineRoute, Misrouted>),
    Server(ServerRoute),
    NotYet(&'static str),
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Engine(_) => "Engine",
            Self::Server(_) => "Server",
            Self::NotYet(_) => "NotYet",
        })
    }
}

macro_rules! engine_routes {
    ($($(#[$doc:meta])* $variant:ident { $($field:ident: $type:ty),* } = $operation:literal, $method:literal $path:literal $(or $also:literal)*;)*) => {
        /// A route of the engine: what path and query say of a [`Request`](hsm_core::Request). Each carries what stands in
        /// its path; what a body adds, [`EngineRoute::request`] reads.
        #[derive(Clone, Debug, Eq, PartialEq)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the fields are named for what they are")]
        pub enum EngineRoute { $($(#[$doc])* #[non_exhaustive] $variant { $($field: $type),* },)* }

        /// The place of each in [`ROWS`].
        enum Place { $($variant,)* Rest }

        const ENGINE_ROWS: &[Endpoint] = &[$(Endpoint {
            operation: $operation,
            method: $method,
            path: $path,
            also: &[$($also),*],
            implemented: true,
            answers: Answers::Engine(|_captured| Ok(EngineRoute::$variant { $($field: _captured.$field()?),* })),
        },)*];

        impl EngineRoute {
            const fn place(&self) -> usize {
                match self { $(Self::$variant { .. } => Place::$variant as usize,)* }
            }
        }
    };
}

engine_routes! {
    /// Makes a key.
    CreateKey { name: KeyName } = "create_key", "POST" "/keys/{name}/create";
    /// Makes a new version.
    RotateKey { name: KeyName } = "rotate_key", "POST" "/keys/{name}/rotate";
    /// Seals a key with all its versions.
    BackupKey { name: KeyName } = "backup_key", "POST" "/keys/{name}/backup";
    /// Brings a key back from its backup.
    RestoreKey {} = "restore_key", "POST" "/keys/restore";
    /// Imports a key, in clear or wrapped (BYOK).
    ImportKey { name: KeyName } = "import_key", "PUT" "/keys/{name}";
    /// Soft-deletes a key.
    DeleteKey { name: KeyName } = "delete_key", "DELETE" "/keys/{name}";
    /// Lists keys.
    ListKeys { page: PageRequest } = "list_keys", "GET" "/keys";
    /// Lists the versions of a key.
    ListVersions { name: KeyName, page: PageRequest } = "list_versions", "GET" "/keys/{name}/versions";
    /// Reads a key's rotation policy.
    GetRotationPolicy { name: KeyName } = "get_rotation_policy", "GET" "/keys/{name}/rotationpolicy";
    /// Sets a key's rotation policy.
    SetRotationPolicy { name: KeyName } = "set_rotation_policy", "PUT" "/keys/{name}/rotationpolicy";
    /// Reads a key version.
    GetKey { key: KeyRef } = "get_key", "GET" "/keys/{name}/{version}" or "/keys/{name}";
    /// States what a key version is, for the nonce of whoever asks.
    AttestKey { key: KeyRef, nonce: Nonce, pcrs: Pcrs } = "attestation", "GET" "/keys/{name}/{version}/attestation" or "/keys/{name}/attestation";
    /// Changes attributes of a key version.
    UpdateKey { key: KeyRef } = "update_key", "PATCH" "/keys/{name}/{version}" or "/keys/{name}";
    /// Encrypts.
    Encrypt { key: KeyRef } = "encrypt", "POST" "/keys/{name}/{version}/encrypt" or "/keys/{name}/encrypt";
    /// Decrypts.
    Decrypt { key: KeyRef } = "decrypt", "POST" "/keys/{name}/{version}/decrypt" or "/keys/{name}/decrypt";
    /// Signs, or computes a MAC.
    Sign { key: KeyRef } = "sign", "POST" "/keys/{name}/{version}/sign" or "/keys/{name}/sign";
    /// Verifies a signature or a MAC.
    Verify { key: KeyRef } = "verify", "POST" "/keys/{name}/{version}/verify" or "/keys/{name}/verify";
    /// Wraps key bytes.
    Wrap { key: KeyRef } = "wrap_key", "POST" "/keys/{name}/{version}/wrapkey" or "/keys/{name}/wrapkey";
    /// Unwraps key bytes.
    Unwrap { key: KeyRef } = "unwrap_key", "POST" "/keys/{name}/{version}/unwrapkey" or "/keys/{name}/unwrapkey";
    /// Gets random bytes.
    Random {} = "random", "POST" "/rng";

    /// Lists soft-deleted keys.
    ListDeletedKeys { page: PageRequest } = "list_deleted_keys", "GET" "/deletedkeys";
    /// Reads a soft-deleted key.
    GetDeletedKey { name: KeyName } = "get_deleted_key", "GET" "/deletedkeys/{name}";
    /// Destroys a soft-deleted key for good.
    PurgeKey { name: KeyName } = "purge_key", "DELETE" "/deletedkeys/{name}";
    /// Brings a soft-deleted key back.
    RecoverKey { name: KeyName } = "recover_key", "POST" "/deletedkeys/{name}/recover";

    /// Lists role definitions.
    ListRoleDefinitions { scope: Scope, role_name: Option<String> } = "list_role_definitions", "GET" "/{scope}/providers/Microsoft.Authorization/roleDefinitions";
    /// Reads one role definition.
    GetRoleDefinition { scope: Scope, id: RoleId } = "get_role_definition", "GET" "/{scope}/providers/Microsoft.Authorization/roleDefinitions/{id}";
    /// Creates or replaces a custom role definition.
    PutRoleDefinition { scope: Scope, id: RoleId } = "put_role_definition", "PUT" "/{scope}/providers/Microsoft.Authorization/roleDefinitions/{id}";
    /// Deletes a custom role definition.
    DeleteRoleDefinition { scope: Scope, id: RoleId } = "delete_role_definition", "DELETE" "/{scope}/providers/Microsoft.Authorization/roleDefinitions/{id}";
    /// Lists role assignments.
    ListRoleAssignments { assigned_at: Option<Scope>, assigned_to: Option<Principal> } = "list_role_assignments", "GET" "/{scope}/providers/Microsoft.Authorization/roleAssignments";
    /// Reads one role assignment.
    GetRoleAssignment { scope: Scope, id: RoleId } = "get_role_assignment", "GET" "/{scope}/providers/Microsoft.Authorization/roleAssignments/{id}";
    /// Assigns a role.
    PutRoleAssignment { scope: Scope, id: RoleId } = "put_role_assignment", "PUT" "/{scope}/providers/Microsoft.Authorization/roleAssignments/{id}";
    /// Takes a role away.
    DeleteRoleAssignment { scope: Scope, id: RoleId } = "delete_role_assignment", "DELETE" "/{scope}/providers/Microsoft.Authorization/roleAssignments/{id}";

    /// Lists the settings as Managed HSM shows them.
    ListSettings {} = "list_settings", "GET" "/settings";
    /// Reads one setting.
    GetSetting { setting: String } = "get_setting", "GET" "/settings/{setting}";
    /// Changes one setting.
    UpdateSetting { setting: String } = "update_setting", "PATCH" "/settings/{setting}";

    /// Unwraps a key under a key of the HSM that has the usage `import`.
    ImportWrappedKey { name: KeyName } = "import_wrapped_key", "POST" "/hsm/v1/keys/{name}/importwrapped";
    /// Wraps an exportable key under a key of the HSM.
    ExportKey { key: KeyRef } = "export_key", "POST" "/hsm/v1/keys/{name}/{version}/export" or "/hsm/v1/keys/{name}/export";
    /// Computes a message authentication code.
    Mac { key: KeyRef } = "mac", "POST" "/hsm/v1/keys/{name}/{version}/mac" or "/hsm/v1/keys/{name}/mac";
    /// Checks a message authentication code.
    VerifyMac { key: KeyRef } = "verify_mac", "POST" "/hsm/v1/keys/{name}/{version}/verifymac" or "/hsm/v1/keys/{name}/verifymac";
    /// Agrees on a shared secret.
    Agree { key: KeyRef } = "agree", "POST" "/hsm/v1/keys/{name}/{version}/agree" or "/hsm/v1/keys/{name}/agree";
    /// Derives secret bytes.
    Derive { key: KeyRef } = "derive", "POST" "/hsm/v1/keys/{name}/{version}/derive" or "/hsm/v1/keys/{name}/derive";
    /// Makes a shared secret and encapsulates it.
    Encapsulate { key: KeyRef } = "encapsulate", "POST" "/hsm/v1/keys/{name}/{version}/encapsulate" or "/hsm/v1/keys/{name}/encapsulate";
    /// Takes a shared secret out of what encapsulates it.
    Decapsulate { key: KeyRef } = "decapsulate", "POST" "/hsm/v1/keys/{name}/{version}/decapsulate" or "/hsm/v1/keys/{name}/decapsulate";

    /// Assigns a role under an id that the HSM chooses.
    CreateRoleAssignment {} = "create_role_assignment", "POST" "/hsm/v1/roleassignments";
    /// Lists users.
    ListUsers { page: PageRequest } = "list_users", "GET" "/hsm/v1/users";
    /// Creates a user.
    CreateUser { user: Principal } = "create_user", "PUT" "/hsm/v1/users/{user}";
    /// Changes a user.
    UpdateUser { user: Principal } = "update_user", "PATCH" "/hsm/v1/users/{user}";
    /// Deletes a user.
    DeleteUser { user: Principal } = "delete_user", "DELETE" "/hsm/v1/users/{user}";
    /// Lists API tokens.
    ListTokens { page: PageRequest } = "list_tokens", "GET" "/hsm/v1/tokens";
    /// Makes an API token.
    CreateToken { token: TokenName } = "create_token", "PUT" "/hsm/v1/tokens/{token}";
    /// Deletes an API token.
    DeleteToken { token: TokenName } = "delete_token", "DELETE" "/hsm/v1/tokens/{token}";
    /// Changes one's own password.
    ChangePassword {} = "change_password", "POST" "/hsm/v1/password";
    /// Reads the partition's settings and status.
    GetPartition {} = "get_partition", "GET" "/hsm/v1/partition";
    /// Changes the partition's settings.
    UpdatePartition {} = "update_partition", "PATCH" "/hsm/v1/partition";
    /// Destroys every key of the partition.
    Zeroize {} = "zeroize", "POST" "/hsm/v1/partition/zeroize";
    /// Lists the audit streams.
    ListAuditStreams {} = "list_audit_streams", "GET" "/hsm/v1/audit";
    /// Reads audit records.
    ReadAudit { stream: StreamId, from: u64, limit: usize } = "read_audit", "GET" "/hsm/v1/audit/{stream}";
}

const fn server(
    operation: &'static str,
    method: &'static str,
    path: &'static str,
    route: ServerRoute,
) -> Endpoint {
    Endpoint {
        operation,
        method,
        path,
        also: &[],
        implemented: true,
        answers: Answers::Server(route),
    }
}

const fn not_yet(
    operation: &'static str,
    method: &'static str,
    path: &'static str,
    also: &'static [&'static str],
    what: &'static str,
) -> Endpoint {
    Endpoint {
        operation,
        method,
        path,
        also,
        implemented: false,
        answers: Answers::NotYet(what),
    }
}

const RELEASE: &str = "the release of keys to attested environments";
const SECURE_WRAP: &str = "secure wrapping";
const SECURITY_DOMAIN: &str = "the download and upload of the security domain";
const FULL_BACKUP: &str = "the backup of a whole partition";
const FULL_RESTORE: &str = "the restoring of a whole partition";
const SECRETS: &str = "secrets";
const CERTIFICATES: &str = "certificates";

/// Any method.
const ANY: &str = "*";

#[rustfmt::skip]
const OTHER_ROWS: &[Endpoint] = &[
    server("login", "POST", "/hsm/v1/sessions", ServerRoute::Login),
    server("who_am_i", "GET", "/hsm/v1/sessions/current", ServerRoute::WhoAmI),
    server("logout", "DELETE", "/hsm/v1/sessions/current", ServerRoute::Logout),
    server("read_clock", "GET", "/hsm/v1/clock", ServerRoute::ReadClock),
    server("advance_clock", "POST", "/hsm/v1/clock", ServerRoute::AdvanceClock),
    server("openapi", "GET", "/hsm/v1/openapi.json", ServerRoute::OpenApi),
    server("health", "GET", "/healthz", ServerRoute::Health),
    server("ready", "GET", "/readyz", ServerRoute::Ready),
    not_yet("release_key", "POST", "/keys/{name}/{version}/release", &["/keys/{name}/release"], RELEASE),
    not_yet("secure_wrap_key", "POST", "/keys/{name}/{version}/securewrapkey", &["/keys/{name}/securewrapkey"], SECURE_WRAP),
    not_yet("secure_unwrap_key", "POST", "/keys/{name}/{version}/secureunwrapkey", &["/keys/{name}/secureunwrapkey"], SECURE_WRAP),
    not_yet("backup", "POST", "/backup", &["/prebackup"], FULL_BACKUP),
    not_yet("backup_status", "GET", "/backup/{job}/pending", &[], FULL_BACKUP),
    not_yet("restore", "PUT", "/restore", &["/prerestore", "/keys/{name}/restore"], FULL_RESTORE),
    not_yet("restore_status", "GET", "/restore/{job}/pending", &[], FULL_RESTORE),
    not_yet("security_domain", ANY, "/securitydomain/{...}", &[], SECURITY_DOMAIN),
    not_yet("secrets", ANY, "/secrets/{...}", &["/deletedsecrets/{...}"], SECRETS),
    not_yet("certificates", ANY, "/certificates/{...}", &["/deletedcertificates/{...}"], CERTIFICATES),
];

/// The whole table: what asks the engine first, at the places that [`EngineRoute::place`] says.
static ROWS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| [ENGINE_ROWS, OTHER_ROWS].concat());

/// What [`Route::parse`] searches: every spelling of every path, taken apart.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let mut patterns = Vec::new();
    for row in ROWS.iter() {
        for path in [row.path].into_iter().chain(row.also.iter().copied()) {
            let parts = path[1..].split('/').collect::<Vec<_>>();
            patterns.push(Pattern {
                row,
                open: parts.last() == Some(&"{...}"),
                parts: parts.leak(),
            });
        }
    }
    // What has a name in a path goes before what takes any.
    patterns.sort_by_key(|pattern| pattern.parameters());
    patterns
});

struct Pattern {
    row: &'static Endpoint,
    parts: &'static [&'static str],
    /// Whatever follows, or nothing.
    open: bool,
}

impl Pattern {
    fn parameters(&self) -> usize {
        self.parts
            .iter()
            .filter(|part| part.starts_with('{'))
            .count()
    }

    fn fits<S: AsRef<str>>(&self, segments: &[S]) -> bool {
        let fixed = self.parts.len() - usize::from(self.open);
        let len_fits = if self.open {
            segments.len() >= fixed
        } else {
            segments.len() == fixed
        };
        len_fits
            && self.parts[..fixed]
                .iter()
                .zip(segments)
                .all(|(part, segment)| part.starts_with('{') || *part == segment.as_ref())
    }
}

/// Every row of the table.
#[must_use]
pub fn endpoints() -> &'static [Endpoint] {
    &ROWS
}

impl Route {
    /// Finds the route of a method, path and query.
    ///
    /// ```
    /// use hsm_wire::{EngineRoute, Misrouted, Route};
    /// use http::Method;
    ///
    /// let route = Route::parse(&Method::GET, "/keys/payments/", Some("api%2Dversion=7.6"));
    /// assert!(matches!(route, Ok(Route::Engine(EngineRoute::GetKey { key, .. })) if key.to_string() == "payments"));
    /// assert_eq!(Route::parse(&Method::GET, "/nothing", None), Err(Misrouted::NotFound));
    /// assert_eq!(Route::parse(&Method::PUT, "/rng", None), Err(Misrouted::Method("POST")));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Misrouted`]: no such path, or not with this method, or a name in it that cannot be one.
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Misrouted> {
        let segments = Segments::of(path).ok_or(Misrouted::NotFound)?.0;
        let method = method.as_str();
        let pattern = PATTERNS.iter().find(|pattern| {
            (pattern.row.method == method || pattern.row.method == ANY) && pattern.fits(&segments)
        });
        let Some(pattern) = pattern else {
            return Err(match allowed(&segments) {
                "" => Misrouted::NotFound,
                methods => Misrouted::Method(methods),
            });
        };
        let query = Query::parse(query)?;
        if pattern.row.needs_api_version() {
            check_api_version(query.api_version.as_deref())?;
        }
        match pattern.row.answers {
            Answers::Server(route) => Ok(Self::Server(route)),
            Answers::NotYet(what) => Ok(Self::NotYet(what)),
            Answers::Engine(make) => make(&Captured {
                pattern: pattern.parts,
                segments: &segments,
                query: &query,
            })
            .map(Self::Engine),
        }
    }

    /// The row of the table.
    #[must_use]
    pub fn endpoint(&self) -> &'static Endpoint {
        let place = match self {
            Self::Engine(route) => return route.endpoint(),
            Self::Server(route) => ROWS[Place::Rest as usize..]
                .iter()
                .position(|row| matches!(row.answers, Answers::Server(known) if known == *route)),
            Self::NotYet(what) => ROWS[Place::Rest as usize..]
                .iter()
                .position(|row| matches!(row.answers, Answers::NotYet(known) if known == *what)),
        };
        &ROWS[Place::Rest as usize + place.unwrap_or_default()]
    }
}

impl EngineRoute {
    /// The row of the table.
    #[must_use]
    pub fn endpoint(&self) -> &'static Endpoint {
        &ROWS[self.place()]
    }
}

impl Endpoint {
    /// Whether a request must name the version of the API: Key Vault's do, ours under `/hsm/v1/` say it in the path.
    #[must_use]
    pub fn needs_api_version(&self) -> bool {
        !self.path.starts_with("/hsm/") && !matches!(self.answers, Answers::Server(_))
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self.answers, Answers::Server(_))
    }
}

fn check_api_version(version: Option<&str>) -> Result<(), Misrouted> {
    let message = match version {
        Some(version) if API_VERSIONS.contains(&version) => return Ok(()),
        Some(_) => "the api-version is not known",
        None => "the query parameter `api-version` is missing",
    };
    Err(Misrouted::BadParameter(format!(
        "{message}; known are {}",
        API_VERSIONS.join(", ")
    )))
}

/// The methods that a path takes, for the header `Allow`.
fn allowed<S: AsRef<str>>(segments: &[S]) -> &'static str {
    let mut bits = 0;
    for pattern in PATTERNS.iter().filter(|pattern| pattern.fits(segments)) {
        if let Some(at) = METHODS
            .iter()
            .position(|method| *method == pattern.row.method)
        {
            bits |= 1 << at;
        }
    }
    &ALLOW[bits]
}

const METHODS: [&str; 5] = ["DELETE", "GET", "PATCH", "POST", "PUT"];

/// Every set of methods as a header says it.
static ALLOW: LazyLock<Vec<String>> = LazyLock::new(|| {
    let set = |bits: usize| {
        let of = METHODS
            .iter()
            .enumerate()
            .filter(|(at, _)| bits >> at & 1 == 1);
        of.map(|(_, method)| *method).collect::<Vec<_>>().join(", ")
    };
    (0..1 << METHODS.len()).map(set).collect()
});

/// The path of a role route under a scope.
pub(crate) fn scoped_path(scope: &Scope, kind: &str) -> String {
    let scope = match scope {
        Scope::Global => String::new(),
        scope => scope.to_string(),
    };
    format!("{scope}/{}/{}/{kind}", PROVIDERS[0], PROVIDERS[1])
}

#[cfg(test)]
mod tests;
