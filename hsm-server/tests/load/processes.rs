//! One HSM in two processes, a server and a program of its own: what one changes the other goes by at its next call.

use hsm_client::kinds::EcdsaP256;
use hsm_client::{BuiltInRole, ErrorKind, Scope};

use crate::served::Served;

#[tokio::test]
async fn what_is_taken_away_locally_is_gone_remotely_at_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path());
    let place = server.place();
    let local = place.local().await;
    let admin = place.log_in(&local).await.unwrap();
    admin
        .create_user("app", "correct horse battery")
        .await
        .unwrap();
    let remote = place.remote(place.options()).await;
    let app = remote.login("app", "correct horse battery").await.unwrap();
    for round in 0..10 {
        let name = format!("k{round}");
        let made = admin.create::<EcdsaP256>(&name).await.unwrap();
        let role = admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .await
            .unwrap();
        let key = app.key::<EcdsaP256>(&name).await.unwrap();
        let signature = key.sign(b"message").await.unwrap();
        made.verify(b"message", &signature).await.unwrap();

        admin.unassign_role(role.id).await.unwrap();
        let refused = key.sign(b"message").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");

        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .await
            .unwrap();
        key.sign(b"message").await.unwrap();
        made.delete().await.unwrap();
        let refused = key.sign(b"message").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
        for role in admin.role_assignments(Some(Scope::Keys)).await.unwrap() {
            if role.principal.as_str() == "app" {
                admin.unassign_role(role.id).await.unwrap();
            }
        }
    }
    // And the other way.
    let there = place.admin().await;
    let key = there.create::<EcdsaP256>("theirs").await.unwrap();
    let here = admin.key::<EcdsaP256>("theirs").await.unwrap();
    here.sign(b"message").await.unwrap();
    key.delete().await.unwrap();
    let refused = here.sign(b"message").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    // A user who is deleted here has no session there.
    admin.delete_user("app").await.unwrap();
    let refused = app.random(1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    local.close().await.unwrap();
    assert_eq!(server.stop(), Some(0));
}
