//! What the `az` program asks a resource manager before it lets anybody work: which endpoints there are (`az cloud
//! register`), and one subscription to log in to (`az login`). There is nothing to manage.

use serde_json::{Value, json};

/// The one subscription. Nothing looks at it.
const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000001";

/// The answer at a path.
pub(super) fn answer(path: &[&str], base: &str, tenant: &str) -> Option<Value> {
    Some(match path {
        ["metadata", "endpoints"] => endpoints(base, tenant),
        ["subscriptions"] => json!({ "value": [subscription(tenant)] }),
        ["subscriptions", id] if *id == SUBSCRIPTION => subscription(tenant),
        ["tenants"] => json!({ "value": [{
            "id": format!("/tenants/{tenant}"),
            "tenantId": tenant,
            "displayName": "hsm-dev",
            "tenantCategory": "Home",
        }] }),
        _ => return None,
    })
}

fn subscription(tenant: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{SUBSCRIPTION}"),
        "subscriptionId": SUBSCRIPTION,
        "tenantId": tenant,
        "displayName": "hsm-dev",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "Internal_2014-09-01",
            "spendingLimit": "Off",
        },
    })
}

fn endpoints(base: &str, tenant: &str) -> Value {
    // Names of vaults and pools go in front of it, with a dot.
    let host = base.strip_prefix("https://").unwrap_or(base);
    json!({
        "name": "hsm-dev",
        "portal": base,
        "resourceManager": base,
        "graph": base,
        "graphAudience": base,
        "gallery": base,
        "batch": base,
        "media": base,
        "sqlManagement": base,
        "vmImageAliasDoc": base,
        "activeDirectoryDataLake": base,
        "microsoftGraphResourceId": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [base],
            "tenant": tenant,
            "identityProvider": "AAD",
        },
        "suffixes": {
            "keyVaultDns": host,
            "mhsmDns": host,
            "storage": host,
            "acrLoginServer": host,
            "sqlServerHostname": host,
        },
    })
}
