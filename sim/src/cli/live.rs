//! A load while it goes on, on stderr: a board that is drawn anew on a terminal, a line now and then elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tenantry_reports::text::grouped;
use tenantry_reports::wall::{WallLatency, WallUs};
use tenantry_sim::load::arrivals::Arrivals;
use tenantry_sim::load::drive::Live;
use tenantry_sim::load::kill::Kill;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// A board is drawn this often.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Where nobody watches a board, a line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Seconds of which the board shows the slowest command.
const SECONDS_SHOWN: usize = 60;

/// From nothing to the slowest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The board.
pub(super) struct Board {
    title: String,
    duration: Duration,
    kills: Vec<Kill>,
    live: Arc<Live>,
    begun: Instant,
    on_terminal: bool,
    /// Lines that stand on the terminal.
    drawn: usize,
    /// The second under way, and the slowest of each before it.
    second: WallLatency,
    last: WallLatency,
    slowest: Vec<u64>,
}

impl Board {
    pub(super) fn new(scenario: &str, arrivals: &Arrivals, kills: &[Kill], live: Arc<Live>, begun: Instant) -> Self {
        // One that can't move its cursor can't show a board.
        let can_move = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self {
            title: format!("{scenario}: {}", arrivals.words()),
            duration: arrivals.duration,
            kills: kills.to_vec(),
            live,
            begun,
            on_terminal: std::io::stderr().is_terminal() && can_move,
            drawn: 0,
            second: WallLatency::new(),
            last: WallLatency::new(),
            slowest: Vec::new(),
        }
    }

    /// Until it is dropped.
    pub(super) async fn show(mut self, stop: CancellationToken) {
        let mut ticks = interval(DRAW_EVERY);
        let per_line = (LINE_EVERY.as_millis() / DRAW_EVERY.as_millis()) as u64;
        for tick in 0_u64.. {
            ticks.tick().await;
            self.take();
            if self.on_terminal {
                self.draw(stop.is_cancelled());
            } else if tick > 0 && tick.is_multiple_of(per_line) {
                // Nobody may be reading it.
                let _ = writeln!(std::io::stderr(), "{}", self.line());
            }
        }
    }

    /// Takes what was measured since it last did.
    fn take(&mut self) {
        let taken = std::mem::take(&mut *self.live.recent.lock().unwrap_or_else(PoisonError::into_inner));
        self.second.merge(&taken);
        let passed = self.begun.elapsed().as_secs() as usize;
        while self.slowest.len() < passed {
            self.slowest.push(self.second.max().map_or(0, |max| max.0));
            self.last = std::mem::take(&mut self.second);
        }
    }

    fn counts(&self) -> String {
        let of = |count: &std::sync::atomic::AtomicU64| grouped(count.load(Relaxed));
        let live = &self.live;
        format!(
            "{} due, {} confirmed, {} refused, {} given up, {} under way, {} outcomes known",
            of(&live.due),
            of(&live.confirmed),
            of(&live.refused),
            of(&live.unanswered),
            of(&live.in_flight),
            of(&live.outcomes)
        )
    }

    /// Where nobody watches.
    fn line(&self) -> String {
        let (passed, of) = (self.begun.elapsed().as_secs(), self.duration.as_secs());
        format!(
            "{} of {of} s: {}{}",
            passed.min(of),
            self.counts(),
            self.gone().map(|gone| ", ".to_owned() + &gone).unwrap_or_default()
        )
    }

    /// Which roles are gone, by the plan.
    fn gone(&self) -> Option<String> {
        let now = self.begun.elapsed();
        let gone = self.kills.iter().filter(|kill| (kill.at..kill.at + kill.down).contains(&now));
        let gone: Vec<_> = gone.map(|kill| kill.role.name()).collect();
        (!gone.is_empty()).then(|| format!("{} killed", gone.join(" and ")))
    }

    fn lines(&self, stopping: bool) -> Vec<String> {
        let passed = self.begun.elapsed().min(self.duration);
        let share = passed.as_secs_f64() / self.duration.as_secs_f64();
        let filled = (share * 30.0) as usize;
        let bar: String = (0..30).map(|place| if place < filled { '━' } else { '─' }).collect();
        let state = match (stopping, self.gone()) {
            (true, _) => "stopping; Ctrl-C once more to stop at once".to_owned(),
            (false, Some(gone)) => gone,
            (false, None) if passed >= self.duration => "waiting for the last answers".to_owned(),
            (false, None) => String::new(),
        };
        let (seconds, of) = (passed.as_secs(), self.duration.as_secs_f64());
        let told = |us: Option<WallUs>| us.map_or_else(|| "-".to_owned(), |us| us.to_string());
        let second = format!(
            "last second: {} answers, half within {}, 9 in 10 within {}, slowest {}",
            grouped(self.last.count()),
            told(self.last.at(0.5)),
            told(self.last.at(0.9)),
            told(self.last.max())
        );
        let shown = &self.slowest[self.slowest.len().saturating_sub(SECONDS_SHOWN)..];
        let most = shown.iter().copied().max().unwrap_or(0);
        let mut course = String::from("slowest each second: ");
        course.extend(shown.iter().map(|us| BARS[(us * 7 / most.max(1)) as usize]));
        let _ = write!(course, "  up to {}", WallUs(most));
        vec![self.title.clone(), format!("{bar} {seconds} of {of} s  {state}"), self.counts(), second, course]
    }

    /// Without colours, so that NO_COLOR has nothing to say.
    fn draw(&mut self, stopping: bool) {
        let lines = self.lines(stopping);
        let mut out = self.cleared();
        // A line that is too long is cut, not wrapped: the cursor must find back.
        out.push_str("\x1b[?7l");
        lines.iter().for_each(|line| out.extend([line, "\n"]));
        out.push_str("\x1b[?7h");
        self.drawn = lines.len();
        self.put(&out);
    }

    fn cleared(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\r\x1b[{lines}A\x1b[J"),
        }
    }

    fn put(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody may be looking.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if self.drawn > 0 {
            self.put(&self.cleared());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_sim::load::arrivals::Shape;

    #[tokio::test(start_paused = true)]
    async fn the_board_shows_the_course_and_what_is_gone() {
        let arrivals = Arrivals { shape: Shape::Poisson, rate: 50.0, duration: Duration::from_secs(10) };
        let live = Arc::new(Live::default());
        let kills = ["broker@2+1".parse().unwrap()];
        let mut board = Board::new("smoke", &arrivals, &kills, live.clone(), Instant::now());
        for second in 0..3_u64 {
            live.confirmed.fetch_add(50, Relaxed);
            (0..50).for_each(|ms| live.recent.lock().unwrap().record(Duration::from_millis(1 + ms + second * 100)));
            tokio::time::advance(Duration::from_millis(if second == 2 { 500 } else { 1_000 })).await;
            board.take();
        }
        let lines = board.lines(false);
        assert!(lines[1].ends_with("2 of 10 s  broker killed"), "{}", lines[1]);
        assert!(lines[2].contains("150 confirmed"), "{}", lines[2]);
        assert!(lines[3].contains("50 answers, half within 125 ms"), "{}", lines[3]);
        assert!(lines[4].starts_with("slowest each second: ▃█  up to 150 ms"), "{}", lines[4]);
        assert_eq!(
            board.line(),
            "2 of 10 s: 0 due, 150 confirmed, 0 refused, 0 given up, 0 under way, 0 outcomes known, broker killed"
        );
    }
}
