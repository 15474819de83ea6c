//! Every limit of the SDK, by name. A request beyond one is refused with
//! [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) before anything is done.

use std::time::Duration;

/// Longest key, role or user name, in ASCII characters. Key Vault: `^[0-9a-zA-Z-]{1,127}$`.
pub const NAME_LEN_MAX: usize = 127;

/// Most versions that one key may have. Managed HSM: 100.
pub const KEY_VERSIONS_MAX: usize = 100;

/// Largest input of one cryptographic operation (message, plaintext, ciphertext), in bytes: 16 MiB.
///
/// Sign a digest, or wrap a data key and encrypt locally, for anything larger.
pub const DATA_LEN_MAX: usize = 16 << 20;

/// Largest additional authenticated data of an AEAD operation, in bytes: 64 KiB.
pub const AAD_LEN_MAX: usize = 64 << 10;

/// Largest plaintext that may be wrapped as a key, in bytes: 4 KiB (a PKCS#8 RSA-4096 key is 2.4 KiB).
pub const WRAP_LEN_MAX: usize = 4 << 10;

/// Most random bytes that one request returns: 64 KiB.
pub const RANDOM_LEN_MAX: usize = 64 << 10;

/// Most bytes that one key derivation returns: 1 KiB.
pub const DERIVED_LEN_MAX: usize = 1 << 10;

/// Largest salt, label, info or context of a key derivation, in bytes.
pub const DERIVE_PARAMETER_LEN_MAX: usize = 1 << 10;

/// Largest sealed key that a device may return, in bytes: 8 KiB.
pub const SEALED_KEY_LEN_MAX: usize = 8 << 10;

/// Largest key that may be imported, as PKCS#8 or raw octets, in bytes: 8 KiB (an ML-DSA-87 key with both its seed and
/// its expanded form is 5 KiB).
pub const KEY_MATERIAL_LEN_MAX: usize = 8 << 10;

/// Largest public key in any encoding, in bytes: 4 KiB.
pub const PUBLIC_KEY_LEN_MAX: usize = 4 << 10;

/// Shortest nonce of an attestation, in bytes. RFC 9711: 8.
pub const ATTESTATION_NONCE_LEN_MIN: usize = 8;

/// Longest nonce of an attestation, in bytes. RFC 9711: 64.
pub const ATTESTATION_NONCE_LEN_MAX: usize = 64;

/// Largest key report, in bytes: 16 KiB (one of a TPM with its endorsement certificates is 3 to 6 KiB).
pub const KEY_REPORT_LEN_MAX: usize = 16 << 10;

/// Most certificates in a key report.
pub const REPORT_CERTIFICATES_MAX: usize = 4;

/// How many platform configuration registers a TPM has in a bank (PC Client Platform TPM Profile).
pub const PCRS_MAX: usize = 24;

/// Most tags on one key version. Key Vault: 15.
pub const TAGS_MAX: usize = 15;

/// Longest tag name or value, in bytes. Key Vault: 256.
pub const TAG_LEN_MAX: usize = 256;

/// Largest page of a listing. Key Vault pages hold at most 25; ours may be asked for up to this many.
pub const PAGE_LEN_MAX: usize = 1000;

/// Page length of a listing when none is asked for. Key Vault: 25.
pub const PAGE_LEN_DEFAULT: usize = 25;

/// Most custom role definitions. Managed HSM: 50.
pub const ROLE_DEFINITIONS_MAX: usize = 50;

/// Most role assignments at the scopes `/` and `/keys`. Managed HSM: 50.
pub const ROLE_ASSIGNMENTS_GLOBAL_MAX: usize = 50;

/// Most role assignments at one key. Managed HSM: 10.
pub const ROLE_ASSIGNMENTS_PER_KEY_MAX: usize = 10;

/// Most role assignments of a partition altogether. They are kept in memory.
pub const ROLE_ASSIGNMENTS_MAX: usize = 5000;

/// Longest description of a role definition, in bytes.
pub const DESCRIPTION_LEN_MAX: usize = 1024;

/// Most users of a partition.
pub const USERS_MAX: usize = 1000;

/// Shortest password, in bytes (NIST SP 800-63B section 3.1.1.2 asks for 8 characters with a second factor, 15 alone).
pub const PASSWORD_LEN_MIN: usize = 8;

/// Longest password, in bytes.
pub const PASSWORD_LEN_MAX: usize = 1024;

/// Password checks that may run at once: each takes 19 MiB of memory.
pub const PASSWORD_CHECKS_MAX: usize = 4;

/// Password checks that may wait for their turn; more are refused.
pub const PASSWORD_CHECKS_WAITING_MAX: usize = 64;

/// Wrong passwords in a row that cost no delay.
pub const LOGIN_FREE_FAILURES: u32 = 3;

/// Delay after the first wrong password beyond [`LOGIN_FREE_FAILURES`]; it doubles with each one more.
pub const LOGIN_DELAY_FIRST: Duration = Duration::from_secs(1);

/// Longest delay that wrong passwords add up to.
pub const LOGIN_DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// Names of no user for which wrong passwords are counted as for users; a further one takes the place of another.
pub const LOGIN_STRANGERS_MAX: u16 = 4096;

/// Most API tokens of a partition. Expired ones make room for new ones.
pub const TOKENS_MAX: usize = 1000;

/// Longest life of an API token: 366 days, so that a year is one whenever it begins.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Largest backup of a key, in bytes: 2 MiB. A key of [`KEY_VERSIONS_MAX`] versions, each with the largest sealed key, public
/// key and tags, fits in.
pub const KEY_BACKUP_LEN_MAX: usize = 2 << 20;

/// Most sessions open at once in one process.
pub const SESSIONS_MAX: usize = 10_000;

/// A session ends when it was not used for this long.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(15 * 60);

/// A session ends this long after login, used or not.
pub const SESSION_LIFETIME_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// Loaded (parsed) keys kept in memory by the engine; the least useful leave first.
pub const LOADED_KEYS_MAX: usize = 4096;

/// A loaded key leaves memory this long after it was loaded, used or not; the next use loads it again. All leave with the
/// last session.
pub const LOADED_KEY_LIFETIME_MAX: Duration = Duration::from_secs(15 * 60);

/// Largest record in the store, in bytes: 64 KiB.
pub const RECORD_LEN_MAX: usize = 64 << 10;

/// Largest key of a record in the store, in bytes.
pub const RECORD_KEY_LEN_MAX: usize = 256;

/// Largest audit record, in bytes.
pub const AUDIT_RECORD_LEN_MAX: usize = 1024;

/// A power cut loses at most this much of the records of cryptographic operations.
pub const AUDIT_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest retention period of soft-deleted keys, in days. Key Vault: 7.
pub const RETENTION_DAYS_MIN: u16 = 7;

/// Longest retention period of soft-deleted keys, in days. Key Vault: 90.
pub const RETENTION_DAYS_MAX: u16 = 90;

/// Most lifetime actions in a rotation policy.
pub const LIFETIME_ACTIONS_MAX: usize = 2;

/// Clock steps up to this long are followed. A longer step ahead in a running process is believed only once the clock has
/// stayed there for [`CLOCK_SETTLE_TIME`]; an HSM that was changed at a time further ahead than this is not opened.
pub const CLOCK_STEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a clock that has stepped further than [`CLOCK_STEP_MAX`] must run steadily to be believed, and how long an HSM
/// that nobody changed for longer than that must be open before retention periods end in a purge.
pub const CLOCK_SETTLE_TIME: Duration = Duration::from_secs(60 * 60);

/// How often the journal notes how far the audit streams have come.
pub const AUDIT_NOTE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Most keys that one run of the maintenance rotates or purges.
pub const MAINTENANCE_BATCH_MAX: usize = 64;

/// A key that could not be rotated by its policy is tried again after this long.
pub const ROTATION_RETRY: Duration = Duration::from_secs(60 * 60);

/// Shortest time from the making of a version to its rotation or expiry by policy. Managed HSM: 28 days.
pub const ROTATION_PERIOD_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest period in a rotation policy, in years.
pub const ROTATION_PERIOD_YEARS_MAX: u16 = 100;

/// How far the count in the store may be ahead of the counter outside it when an HSM is opened: what processes that died had
/// committed and not yet counted, one change each.
pub const COUNTER_AHEAD_MAX: u64 = 64;

/// Length of the secrets that a [`RootSealer`](crate::RootSealer) seals, in bytes.
pub const SEALED_SECRET_LEN: usize = 32;

/// Longest that such a secret becomes when it is sealed, in bytes.
pub const SEALED_SECRET_LEN_MAX: usize = 2048;

/// Longest name of a [`RootSealer`](crate::RootSealer), in bytes.
pub const SEALER_NAME_LEN_MAX: usize = 32;
