//! Keys and certificates as files: `tenantryd keys`, and what `serve` and `up` read of them while they run.
//!
//! The folder has `ca.pem` (who is trusted), `ca.key` (needed only here: keep it where no role runs), and for each role
//! `ROLE.pem` and `ROLE.key`. A running role looks at its three files every [`LOOK`] and uses new ones from then on.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use jiff::{SignedDuration, Timestamp};
use tenantry_system::capability::{Clock, Network, OsEntropy, SystemClock, Tcp, file_error};
use tenantry_system::rights::Role;
use tenantry_system::tls::{Certificate, CertificateAuthority, Credentials, Issued, Pem, Tls, TlsError};
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::config::{Config, TlsFiles};

/// A running role looks at its files this often.
const LOOK: Duration = Duration::from_secs(2);

/// New files that can't be used are reported at this look in a row, once: at the first they may be half written.
const REPORT_AT: u32 = 2;

/// A certificate with less than this part of its life left is told of: one in five.
const SOON: i32 = 5;

/// How often a running role tells of it, in looks: once an hour.
const SOON_LOOKS: u32 = 1800;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The authority's own certificate: rotating it takes hands, and its key can lie in a safe.
const CA_DAYS: u32 = 3650;

/// Under which names operators reach an API on their own machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// What can be done with keys.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a certificate authority, and a certificate and a private key for each role.
    ///
    /// Nothing that is there is overwritten. Give each role `ca.pem` and its own two files; `ca.key` stays with you.
    Init {
        /// The folder to put them in.
        #[arg(long, default_value = "./tls")]
        out: PathBuf,
        /// Names and addresses, separated by commas, under which operators reach the API; those of this machine always.
        #[arg(long, value_delimiter = ',')]
        hosts: Vec<String>,
        /// Days for which roles' certificates are valid.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=CA_DAYS as i64))]
        days: u32,
    },
    /// Issue new certificates and private keys by the authority in the folder; running roles take them up by themselves.
    Renew {
        /// Whose; without it everyone's.
        #[arg(value_parser = crate::roles())]
        role: Option<Role>,
        /// The folder.
        #[arg(long, default_value = "./tls")]
        out: PathBuf,
        /// Names and addresses under which operators reach the API; without it those that its certificate has.
        #[arg(long, value_delimiter = ',')]
        hosts: Option<Vec<String>>,
        /// Days for which they are valid.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=CA_DAYS as i64))]
        days: u32,
    },
    /// Print what is in the folder, and whether it can be used.
    Show {
        /// The folder.
        #[arg(long, default_value = "./tls")]
        out: PathBuf,
    },
}

/// Does `command`.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { out, hosts, days } => init(&out, &hosts, days),
        Command::Renew { role, out, hosts, days } => {
            let roles = role.map_or(Role::ALL.to_vec(), |role| vec![role]);
            renew(&out, &roles, hosts.as_deref(), days)
        }
        Command::Show { out } => show(&out),
    }
}

/// The network of `role`: encrypted by what `[tls]` says, and kept up with it, or plain.
pub(crate) fn network(config: &Config, role: Role) -> anyhow::Result<Arc<dyn Network>> {
    let Some(tls) = &config.tls else { return Ok(Arc::new(Tcp)) };
    let files = tls.of(role);
    let pem = read(&files)?;
    let credentials = credentials(role, &files, &pem)?;
    let tls = Arc::new(Tls::new(Arc::new(Tcp), credentials));
    tokio::spawn(watch(tls.clone(), role, files, pem));
    Ok(tls)
}

/// Takes up new files as they come.
async fn watch(tls: Arc<Tls>, role: Role, files: [PathBuf; 3], mut used: Pem) {
    let (mut trouble, mut troubled, mut looks) = (None, 0, 0_u32);
    loop {
        if looks.is_multiple_of(SOON_LOOKS)
            && let Some(soon) = tls.credentials().certificate().and_then(|shown| soon(shown, SystemClock.now()))
        {
            tracing::warn!(%role, "the certificate {soon}; renew it with `tenantryd keys renew`");
        }
        looks = looks.wrapping_add(1);
        sleep(LOOK).await;
        let renewed = read(&files).and_then(|pem| {
            if pem == used {
                return Ok(());
            }
            let credentials = credentials(role, &files, &pem)?;
            let until = credentials.certificate().map(|shown| shown.not_after.to_string());
            tls.renew(credentials);
            used = pem;
            tracing::info!(%role, until, "took up new certificates");
            Ok(())
        });
        let now = renewed.err().map(|error| format!("{error:#}"));
        troubled = if now == trouble { troubled + 1 } else { 1 };
        trouble = now;
        if let (Some(error), REPORT_AT) = (&trouble, troubled) {
            tracing::error!(%role, %error, "new certificates can't be used; the old ones stay in use");
        }
    }
}

fn read([ca, certificate, key]: &[PathBuf; 3]) -> anyhow::Result<Pem> {
    let made = "`tenantryd keys init` makes keys and certificates";
    Ok(Pem { ca: text(ca).context(made)?, certificate: text(certificate)?, key: text(key)?.into() })
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?)
}

fn credentials(role: Role, [ca, certificate, key]: &[PathBuf; 3], pem: &Pem) -> anyhow::Result<Credentials> {
    Credentials::of_role(role, pem, Arc::new(SystemClock))
        .with_context(|| format!("failed to use {} with {} and {}", certificate.display(), key.display(), ca.display()))
}

fn init(out: &Path, hosts: &[String], days: u32) -> anyhow::Result<()> {
    let folder = folder(out);
    let ca_key = out.join("ca.key");
    let mine = Role::ALL.into_iter().flat_map(|role| folder.of(role)).chain([ca_key.clone()]);
    for path in mine {
        if path.exists() {
            bail!(
                "{} is there already, and is not overwritten; `tenantryd keys renew` issues new certificates, another \
                 folder takes a new authority",
                path.display()
            );
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(out).map_err(|error| file_error(&error, "create", out))?;
    let now = SystemClock.now();
    let (authority, ca) = CertificateAuthority::new(now, DAY * CA_DAYS, &OsEntropy)?;
    // In memory first: a name that is none must not leave half a folder.
    let issued =
        Role::ALL.map(|role| Ok((role, authority.issue(role, &hosts_of(role, hosts), now, DAY * days, &OsEntropy)?)));
    let issued = issued.into_iter().collect::<Result<Vec<_>, TlsError>>()?;
    write_new(&ca_key, &ca.key, SECRET)?;
    write_new(&out.join("ca.pem"), &ca.certificate, PUBLIC)?;
    for (role, Issued { certificate, key }) in issued {
        let [_, certificate_path, key_path] = folder.of(role);
        write_new(&key_path, &key, SECRET)?;
        write_new(&certificate_path, &certificate, PUBLIC)?;
    }
    let out = out.display();
    Ok(writeln!(
        io::stdout(),
        "made a certificate authority and certificates of {} roles for {days} days in {out}\n\
         give each role ca.pem and its own ROLE.pem and ROLE.key; keep ca.key where no role runs\n\
         use them with this in the configuration:\n\n[tls]\nfolder = \"{out}\"",
        Role::ALL.len()
    )?)
}

fn renew(out: &Path, roles: &[Role], hosts: Option<&[String]>, days: u32) -> anyhow::Result<()> {
    let folder = folder(out);
    let (ca, ca_key) = (text(&out.join("ca.pem"))?, Zeroizing::new(text(&out.join("ca.key"))?));
    let authority = CertificateAuthority::from_pem(&ca, &ca_key)?;
    let now = SystemClock.now();
    for role in roles {
        let files @ [_, certificate_path, key_path] = &folder.of(*role);
        let hosts = match hosts {
            Some(hosts) => hosts_of(*role, hosts),
            // One that was lost or can't be read is what renewal mends.
            None => text(certificate_path)
                .ok()
                .and_then(|pem| Certificate::read(&pem).ok())
                .map_or_else(|| hosts_of(*role, &[]), |mut chain| chain.remove(0).public_hosts()),
        };
        let Issued { certificate, key } = authority.issue(*role, &hosts, now, DAY * days, &OsEntropy)?;
        let pem = Pem { ca: ca.clone(), certificate, key };
        // An authority's certificate with another's key issues what everyone refuses.
        let made = credentials(*role, files, &pem)?;
        replace(key_path, &pem.key, SECRET)?;
        replace(certificate_path, &pem.certificate, PUBLIC)?;
        let until = made.certificate().map(|made| made.not_after.to_string()).unwrap_or_default();
        writeln!(io::stdout(), "renewed {role}, until {until}")?;
    }
    Ok(())
}

fn show(out: &Path) -> anyhow::Result<()> {
    let folder = folder(out);
    let ca = Certificate::read(&text(&out.join("ca.pem"))?)?;
    let now = SystemClock.now();
    let mut stdout = io::stdout().lock();
    let mut unusable = 0;
    writeln!(stdout, "{:<9} {:<15} {:<21} {:<64} state", "role", "may", "valid until", "SHA-256 of the certificate")?;
    let mut line = |who: &str, may: &str, shown: &Certificate, state: Result<(), String>| {
        unusable += usize::from(state.is_err());
        let state = state.map_or_else(|why| why, |()| soon(shown, now).unwrap_or_else(|| "good".into()));
        let (until, print) = (shown.not_after.to_string(), hex::encode(shown.fingerprint));
        writeln!(stdout, "{who:<9} {may:<15} {until:<21} {print} {state}")
    };
    for authority in &ca {
        let valid = if authority.not_after < now { Err("it has expired".into()) } else { Ok(()) };
        line("ca", "certify", authority, valid)?;
    }
    for role in Role::ALL {
        let files = folder.of(role);
        let Ok(pem) = std::fs::read_to_string(&files[1]) else { continue };
        let shown =
            Certificate::read(&pem).with_context(|| format!("failed to read {}", files[1].display()))?.remove(0);
        let may = match (shown.serves, shown.calls) {
            (true, true) => "serve and call",
            (true, false) => "serve",
            (false, true) => "call",
            (false, false) => "nothing",
        };
        let state = if files[2].exists() {
            read(&files).and_then(|pem| Ok(Credentials::of_role(role, &pem, Arc::new(SystemClock))?)).map(|_| ())
        } else {
            Err(anyhow!("its private key is not here"))
        };
        line(role.name(), may, &shown, state.map_err(|error| format!("{error:#}")))?;
    }
    if unusable > 0 {
        bail!("{unusable} of these can't be used");
    }
    Ok(())
}

/// That it expires soon, in words.
fn soon(certificate: &Certificate, now: Timestamp) -> Option<String> {
    let left = certificate.not_after.duration_since(now);
    let life = certificate.not_after.duration_since(certificate.not_before);
    (left < life / SOON).then(|| format!("expires in {} hours", left.max(SignedDuration::ZERO).as_hours()))
}

/// What a certificate of `role` is valid for beside the role's own name.
fn hosts_of(role: Role, hosts: &[String]) -> Vec<String> {
    if role != Role::Producer {
        return Vec::new();
    }
    let mut all: Vec<String> = LOCAL_HOSTS.map(String::from).to_vec();
    all.extend(hosts.iter().filter(|host| !LOCAL_HOSTS.contains(&host.as_str())).cloned());
    all
}

fn folder(out: &Path) -> TlsFiles {
    TlsFiles { folder: out.to_owned(), ..TlsFiles::default() }
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    Ok(write().map_err(|error| file_error(&error, "write", path))?)
}

/// Whole or not at all: a role may be reading it.
fn replace(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    write_new(&draft, text, mode)?;
    let moved =
        std::fs::rename(&draft, path).and_then(|()| File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all());
    Ok(moved.map_err(|error| file_error(&error, "write", path))?)
}
