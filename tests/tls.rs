//! The system for real over encrypted channels: keys made by `tenantryd keys init`, renewed while it runs, and nobody gets
//! in without the right ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenantry_system::auth::{Authority, RemoteAuthority};
use tenantry_system::capability::{Network, SystemClock, Tcp};
use tenantry_system::rights::Role;
use tenantry_system::tls::{Credentials, Pem, Tls};
use tenantry_tests::{Cluster, Panel, ROLES, credit, eventually, tenantryd, write_file};
use tokio::runtime::Runtime;

/// What is confirmed takes effect within this time, and a running role takes up new files.
const EFFECT_MAX: Duration = Duration::from_secs(30);

fn read(folder: &str, name: &str) -> String {
    std::fs::read_to_string(Path::new(folder).join(name)).expect("a file of the folder")
}

/// The network of someone who has `role`'s files of `shown`, and trusts the authority of `trusted`.
fn as_role(role: Role, shown: &str, trusted: &str) -> Arc<dyn Network> {
    // One that a process would not use for its own: what is shown and what is trusted are of two houses.
    let ca = if shown == trusted { read(shown, "ca.pem") } else { read(trusted, "ca.pem") + &read(shown, "ca.pem") };
    let pem =
        Pem { ca, certificate: read(shown, &format!("{role}.pem")), key: read(shown, &format!("{role}.key")).into() };
    let credentials = Credentials::of_role(role, &pem, Arc::new(SystemClock)).expect("sound credentials");
    Arc::new(Tls::new(Arc::new(Tcp), credentials))
}

async fn applied(panel: &Panel, id: &str) {
    eventually("a command is confirmed", EFFECT_MAX, async || {
        let answer = panel.post(&credit(id, 1)).await.ok()?;
        matches!(answer.status.as_u16(), 200 | 202).then_some(())
    })
    .await;
    eventually("a confirmed command takes effect", EFFECT_MAX, async || {
        let answer = panel.status("acme", id, 2000).await.ok()?;
        (answer.body["status"] == "applied").then_some(())
    })
    .await;
}

#[test]
fn six_processes_talk_encrypted_renew_while_they_run_and_let_nobody_else_in() {
    let mut cluster = Cluster::encrypted();
    let keys = cluster.keys();
    ROLES.into_iter().for_each(|role| cluster.start(role));
    Runtime::new().unwrap().block_on(async {
        let panel = cluster.panel("dev-operator").await;
        applied(&panel, "m-first").await;

        // Who is not let in.
        let auth = |network, role| RemoteAuthority::new(network, cluster.address("auth"), role);
        let refused = async |network, role| auth(network, role).keys().await.unwrap_err().to_string();
        assert!(auth(as_role(Role::Producer, &keys, &keys), Role::Producer).keys().await.is_ok());
        refused(Arc::new(Tcp), Role::Producer).await;
        assert!(Panel::new(cluster.address("producer"), panel.token.clone()).get("/healthz").await.is_err());
        let foreign = format!("{keys}-foreign");
        assert!(tenantryd(&["keys", "init", "--out", &foreign]).status.success());
        let told = refused(as_role(Role::Producer, &foreign, &foreign), Role::Producer).await;
        assert!(told.contains("of no authority that is trusted here"), "{told}");
        let told = refused(as_role(Role::Producer, &foreign, &keys), Role::Producer).await;
        assert!(told.contains("UnknownCA") || told.contains("connection"), "{told}");
        let told = refused(as_role(Role::Consumer, &keys, &keys), Role::Producer).await;
        assert!(told.contains("the certificate is the consumer's, the greeting says producer"), "{told}");
        let log = cluster.log("auth");
        for reason in [
            "the other side does not speak TLS",
            "the certificate is of no authority that is trusted here",
            "the certificate is the consumer's, the greeting says producer",
        ] {
            assert!(log.contains(reason), "auth does not say: {reason}\n{log}");
        }

        // What auth refuses is on record, by a channel on which auth is the client.
        let mut others = credit("m-others", 1);
        others["tenant_id"] = "initech".into();
        assert_eq!(panel.post(&others).await.unwrap().status.as_u16(), 403);
        eventually("the attempt rings", EFFECT_MAX, async || {
            cluster.log("audit").contains("cross_tenant").then_some(())
        })
        .await;

        // Renewed under traffic, every role.
        assert!(tenantryd(&["keys", "renew", "--out", &keys]).status.success());
        let taken_up = async || {
            eventually("every role takes up its new certificate", EFFECT_MAX, async || {
                let took = |role: &&str| cluster.log(role).contains("took up new certificates");
                ROLES.iter().all(took).then_some(())
            })
            .await;
        };
        let working = async {
            for index in 0..5 {
                applied(&panel, &format!("m-{index}")).await;
            }
        };
        tokio::join!(taken_up(), working);
        applied(&cluster.panel("dev-operator").await, "m-by-a-new-connection").await;

        // A file that is wrong is told of, and changes nothing.
        let certificate = Path::new(&keys).join("audit.pem");
        write_file(&certificate, &read(&foreign, "audit.pem"));
        eventually("the audit log's role tells of its certificate", EFFECT_MAX, async || {
            let log = cluster.log("audit");
            let told = log.contains("new certificates can't be used; the old ones stay in use")
                && log.contains("of no authority that is trusted here");
            told.then_some(())
        })
        .await;
        applied(&panel, "m-last").await;
    });
    for role in ROLES {
        assert!(!cluster.log(role).contains("PRIVATE KEY"), "{role} told its key");
    }
    cluster.stop();
}

#[test]
fn keys_are_made_once_their_owners_alone_and_shown_with_what_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("tls").display().to_string();
    let text = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let error = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(tenantryd(&["keys", "init", "--out", &keys, "--hosts", "panel.example.com,192.0.2.7"]).status.success());
    let mode = |name: &str| Path::new(&keys).join(name).metadata().unwrap().permissions().mode() & 0o777;
    for secret in ["ca.key", "producer.key", "audit.key"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    let before = read(&keys, "broker.key");
    let again = tenantryd(&["keys", "init", "--out", &keys]);
    assert!(!again.status.success() && error(&again).contains("is there already"), "{}", error(&again));
    assert_eq!(read(&keys, "broker.key"), before);

    let shown = tenantryd(&["keys", "show", "--out", &keys]);
    assert!(shown.status.success(), "{}", error(&shown));
    let line = |role: &str| {
        let text = text(&shown);
        let line = text.lines().find(|line| line.starts_with(role)).expect(role).to_owned();
        assert!(line.ends_with(" good"), "{line}");
        line
    };
    assert!(line("consumer").contains(" call ") && line("broker").contains(" serve "));
    assert!(line("ledger").contains(" serve and call ") && line("ca ").contains(" certify "));

    assert!(tenantryd(&["keys", "renew", "producer", "--out", &keys, "--days", "1"]).status.success());
    let producers = tenantry_system::tls::Certificate::read(&read(&keys, "producer.pem")).unwrap().remove(0);
    assert!(producers.hosts.contains(&"panel.example.com".into()), "{:?}", producers.hosts);
    assert!(producers.hosts.contains(&"192.0.2.7".into()), "{:?}", producers.hosts);
    assert_eq!(mode("producer.key"), 0o600);
    assert_eq!(read(&keys, "broker.key"), before, "only the producer's was asked for");

    std::fs::copy(Path::new(&keys).join("broker.key"), Path::new(&keys).join("audit.key")).unwrap();
    let shown = tenantryd(&["keys", "show", "--out", &keys]);
    assert!(!shown.status.success());
    assert!(text(&shown).contains("the private key is not that of the certificate"), "{}", text(&shown));
}

#[test]
fn what_is_not_encrypted_stays_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tenantry.toml");
    let path = config.display().to_string();
    let serve = |text: &str| {
        write_file(&config, &format!("data = {:?}\n{text}", folder.path().join("data")));
        let ended = tenantryd(&["serve", "broker", "--config", &path]);
        assert!(!ended.status.success());
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    let told = serve("[addresses]\nbroker = \"0.0.0.0:7071\"\n");
    assert!(told.contains("0.0.0.0:7071 is not a loopback address"), "{told}");
    assert!(told.contains("tenantryd keys init"), "{told}");
    let told = serve(&format!("[tls]\nfolder = {:?}\n", folder.path().join("none")));
    assert!(told.contains("none/ca.pem") && told.contains("tenantryd keys init"), "{told}");
}
