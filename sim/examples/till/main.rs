//! Someone else's service in the generic half of the harness: a till that takes coins over TCP, writes each into its
//! journal, and says so. With `--bug` it says so before the coin is durable: the hunt finds a seed in which the power goes
//! in between, and the shrinker leaves, of all that happened, what is to blame.
//!
//! `cargo run --release --package tenantry-sim --example till -- --bug`

use std::collections::BTreeSet;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt::Write, io};

use tenantry_sim::engine::fault::{Fault, FaultKind};
use tenantry_sim::engine::hunt::{Ended, hunt};
use tenantry_sim::engine::plan::{Plan, What};
use tenantry_sim::engine::runner::{Host, Settings, Simulation};
use tenantry_sim::engine::shrink::{Limits, Search, minimise};
use tenantry_sim::engine::{dice::Dice, disk_image::DiskImage, machines::Disks, trace::Trace};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::{TcpListener, TcpStream};

/// The service. It takes any stream, so it runs on `tokio::net` as well.
async fn take_coins(mut stream: impl AsyncRead + AsyncWrite + Unpin, journal: Journal, bug: bool) -> io::Result<()> {
    loop {
        journal.append(stream.read_u64().await?)?;
        if !bug {
            journal.sync().await?;
        }
        stream.write_u8(1).await?;
        if bug {
            journal.sync().await?;
        }
    }
}

/// Where the coins are: eight bytes each.
#[derive(Clone)]
struct Journal(Arc<Mutex<DiskImage>>);

impl Journal {
    fn append(&self, coin: u64) -> io::Result<()> {
        let mut disk = self.0.lock().expect("no holder panics");
        let end = disk.len("journal")?;
        disk.write("journal", end, &coin.to_be_bytes())?;
        disk.sync("journal")
    }

    /// Waits until what was written is durable; before, a power loss may take it.
    async fn sync(&self) -> io::Result<()> {
        sleep(ms(5)).await;
        self.0.lock().expect("no holder panics").promote("journal")
    }

    fn coins(&self) -> io::Result<BTreeSet<u64>> {
        let disk = self.0.lock().expect("no holder panics");
        let mut bytes = vec![0; disk.len("journal")? as usize];
        disk.read("journal", 0, &mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|coin| u64::from_be_bytes(*coin)).collect())
    }
}

/// What happens, all drawn from the seed: thirty coins and six faults within two seconds.
fn plan(seed: u64) -> Plan<u64> {
    let dice = Dice::new(seed);
    let coins = (1..=30).map(|coin| (dice.range("coin", "", coin, 100..=1900), coin));
    let fault = |number| {
        let host = "till".to_owned();
        let kind = match dice.range("fault.kind", "", number, 0..=2) {
            0 => FaultKind::Crash { host },
            1 => FaultKind::PowerLoss { host },
            _ => FaultKind::Partition { a: "customers".into(), b: host },
        };
        Fault { at: ms(dice.range("fault.at", "", number, 100..=1800)), for_: ms(100), kind, when: None }
    };
    Plan::new(seed, "till", &(0..6).map(fault).collect::<Vec<_>>(), coins)
}

/// Runs a plan, and returns the coins that were confirmed and are not in the journal.
fn lost(plan: &Plan<u64>, bug: bool) -> Result<BTreeSet<u64>, Box<dyn Error>> {
    let mut disks = Disks::new(plan.seed);
    let (journal, confirmed) = (Journal(disks.of("till")), Arc::new(Mutex::new(BTreeSet::new())));
    journal.0.lock().expect("no holder panics").create("journal")?;
    let till = Host::new("till", journal.clone(), move |journal| async move {
        let listener = TcpListener::bind(("0.0.0.0", 7000)).await?;
        loop {
            tokio::spawn(take_coins(listener.accept().await?.0, journal.clone(), bug));
        }
    });
    let acts: Vec<_> = plan.acts().map(|(at_ms, coin)| (ms(at_ms), *coin)).collect();
    let customers = Host::new("customers", (acts, confirmed.clone()), |(acts, confirmed)| async move {
        for (at, coin) in acts {
            sleep(at.saturating_sub(turmoil::sim_elapsed().unwrap_or_default())).await;
            let pay = async {
                let mut stream = TcpStream::connect(("till", 7000)).await?;
                stream.write_u64(coin).await?;
                stream.read_u8().await
            };
            if let Ok(Ok(_)) = timeout(ms(50), pay).await {
                confirmed.lock().expect("no holder panics").insert(coin);
            }
        }
        Ok(())
    });
    let mut simulation = Simulation::new(&Settings::new(plan.seed, ms(4000)), vec![till, customers]);
    simulation.run(&plan.faults(), &mut disks, &Trace::new(false), ms(2000), &mut |_, _| false)?;
    let confirmed = confirmed.lock().expect("no holder panics");
    Ok(confirmed.difference(&journal.coins()?).copied().collect())
}

/// Hunts for a seed that loses a coin, and tells what is left of its plan without all that is not needed for it.
fn story(bug: bool) -> Result<String, Box<dyn Error>> {
    let (mut found, run) = (None, move |seed: &u64| lost(&plan(*seed), bug).map_err(|error| error.to_string()));
    hunt(1..=200, 1, Duration::from_secs(60), run, |seed, ended| match ended {
        Ended::Done(Ok(lost)) if lost.is_empty() => ControlFlow::Continue(()),
        ended => {
            found = Some((seed, ended));
            ControlFlow::Break(())
        }
    });
    let Some((seed, ended)) = found else { return Ok("200 seeds lose nothing\n".into()) };
    let Ended::Done(Ok(coins)) = ended else { return Err(format!("seed {seed}: {ended:?}").into()) };
    let plan = plan(seed);
    let only = |kept: &Vec<usize>| plan.retain(|index, _| kept.contains(&index));
    let fails = |kept: &Vec<usize>| lost(&only(kept), bug).is_ok_and(|lost| !lost.is_empty());
    let mut search = Search::new(Limits::default(), &fails);
    let left = minimise(&mut search, (0..plan.entries.len()).collect(), <[usize]>::to_vec);
    let mut story = format!("seed {seed} loses {coins:?}; after {} runs this is left of it:\n", search.runs());
    for entry in only(&left).entries {
        match entry.what {
            What::Act(coin) => writeln!(story, "{:>5} ms  coin {coin}", entry.at_ms)?,
            What::Fault(fault) => writeln!(story, "{:>5} ms  {}", entry.at_ms, fault.kind)?,
            What::Heal(_) => {}
        }
    }
    Ok(story)
}

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", story(std::env::args().any(|argument| argument == "--bug"))?);
    Ok(())
}

#[cfg(test)]
mod tests;
