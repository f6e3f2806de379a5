//! Delays inside the server, by kind of event, and LATENCY.

use super::stats::{Stats, lock};
use crate::command::table::{self, Name, TABLE};
use crate::command::{Out, Request};
use crate::config::Config;
use crate::error::CommandError;
use crate::stream::UnixMs;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Mutex;

/// How many delays of one kind are kept.
const SAMPLES_MAX: usize = 160;

/// The latest delays of each kind.
#[derive(Debug, Default)]
pub struct Latency(Mutex<BTreeMap<&'static str, Series>>);

/// The delays of one kind.
#[derive(Debug, Default)]
struct Series {
    /// When, in Unix seconds, and how many milliseconds; oldest first.
    samples: VecDeque<(u64, u64)>,
    max_ms: u64,
}

impl Latency {
    /// Notes a delay, if it is one by the settings: `command` for a command that took long,
    /// `fast-command` for one that is flagged fast. Of several in one second the longest is kept.
    pub fn record(&self, config: &Config, event: &'static str, now: UnixMs, nanoseconds: u64) {
        let (threshold, ms) = (config.latency_monitor_threshold, nanoseconds / 1_000_000);
        if threshold == 0 || ms < threshold {
            return;
        }
        let mut all = lock(&self.0);
        let series = all.entry(event).or_default();
        series.max_ms = series.max_ms.max(ms);
        let second = now.0 / 1000;
        match series.samples.back_mut() {
            Some((at, latest)) if *at == second => *latest = ms.max(*latest),
            _ => series.samples.push_back((second, ms)),
        }
        if series.samples.len() > SAMPLES_MAX {
            series.samples.pop_front();
        }
    }

    fn reset<'a>(&self, events: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
        let mut all = lock(&self.0);
        let before = all.len();
        if events.len() == 0 {
            all.clear();
        }
        for event in events {
            all.retain(|name, _| !name.as_bytes().eq_ignore_ascii_case(event));
        }
        before - all.len()
    }

    fn write_latest(&self, out: &mut Out<'_>) {
        let all = lock(&self.0);
        out.array(all.len());
        for (event, series) in &*all {
            let (at, ms) = series.samples.back().copied().unwrap_or_default();
            out.array(4);
            out.bulk(event.as_bytes());
            out.unsigned(at);
            out.unsigned(ms);
            out.unsigned(series.max_ms);
        }
    }

    fn write_history(&self, event: &[u8], out: &mut Out<'_>) {
        let all = lock(&self.0);
        let samples = named(&all, event).map(|(_, series)| &series.samples);
        out.array(samples.map_or(0, VecDeque::len));
        for (at, ms) in samples.into_iter().flatten() {
            out.array(2);
            out.unsigned(*at);
            out.unsigned(*ms);
        }
    }

    fn report(&self, config: &Config) -> String {
        if config.latency_monitor_threshold == 0 {
            return "No delays are recorded. CONFIG SET latency-monitor-threshold <milliseconds> \
                    starts that.\n"
                .to_owned();
        }
        let all = lock(&self.0);
        if all.is_empty() {
            return "No delay has reached the threshold.\n".to_owned();
        }
        let mut text = String::new();
        for (event, Series { samples, max_ms }) in &*all {
            let sum: u64 = samples.iter().map(|(_, ms)| ms).sum();
            let mean = sum / (samples.len() as u64).max(1);
            // Writing to a `String` does not fail.
            let _ = writeln!(
                text,
                "{event}: {} delays, mean {mean} ms, longest {max_ms} ms. SLOWLOG tells which \
                 commands took long.",
                samples.len()
            );
        }
        text
    }

    fn graph(&self, event: &[u8], now: UnixMs) -> Result<String, CommandError> {
        let all = lock(&self.0);
        let Some((event, series)) = named(&all, event) else {
            let text = "ERR No samples available for event '{}'";
            return Err(CommandError::quoting(text, &[event]));
        };
        Ok(draw(event, series, now))
    }
}

fn named<'a>(
    all: &'a BTreeMap<&'static str, Series>,
    event: &[u8],
) -> Option<(&'static str, &'a Series)> {
    let mut all = all.iter();
    let found = all.find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(event))?;
    Some((found.0, found.1))
}

/// A bar for each delay, between the shortest and the longest, over its age.
fn draw(event: &str, series: &Series, now: UnixMs) -> String {
    const ROWS: u64 = 4;
    let low = series.samples.iter().map(|(_, ms)| *ms).min().unwrap_or_default();
    let high = series.samples.iter().map(|(_, ms)| *ms).max().unwrap_or_default();
    let mut text = format!(
        "{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        series.max_ms,
        "-".repeat(80)
    );
    for row in (0..ROWS).rev() {
        let level = low + (high - low) * row / ROWS;
        text.extend(series.samples.iter().map(|(_, ms)| if *ms >= level { '#' } else { ' ' }));
        text.push('\n');
    }
    text.push('\n');
    let age = |at: u64| match (now.0 / 1000).saturating_sub(at) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    };
    let ages: Vec<String> = series.samples.iter().map(|(at, _)| age(*at)).collect();
    for row in 0..ages.iter().map(String::len).max().unwrap_or_default() {
        text.extend(ages.iter().map(|age| age.chars().nth(row).unwrap_or(' ')));
        text.push('\n');
    }
    text
}

/// LATENCY and its subcommands.
pub(super) fn run(
    stats: &Stats,
    config: &Config,
    now: UnixMs,
    name: Name,
    request: &Request<'_>,
    out: &mut Out<'_>,
) -> Result<(), CommandError> {
    let latency = &stats.latency;
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left is LATEST")]
    match name {
        Name::LatencyDoctor => out.verbatim(&latency.report(config)),
        Name::LatencyGraph => out.verbatim(&latency.graph(request.arg(2), now)?),
        Name::LatencyHistogram => histogram(stats, request, out),
        Name::LatencyHistory => latency.write_history(request.arg(2), out),
        Name::LatencyReset => out.count(latency.reset(request.from(2))),
        _ => latency.write_latest(out),
    }
    Ok(())
}

/// LATENCY HISTOGRAM: of the commands that are named, with their subcommands, or of all; only
/// those that have run.
fn histogram(stats: &Stats, request: &Request<'_>, out: &mut Out<'_>) {
    let names: Vec<Name> = if request.len() == 2 {
        TABLE.iter().map(|row| row.name).collect()
    } else {
        let rows = request.from(2).filter_map(table::find);
        rows.flat_map(|row| std::iter::once(row).chain(row.subcommands()))
            .map(|row| row.name)
            .collect()
    };
    let all = names.into_iter().map(|name| (name, stats.command(name)));
    let all: Vec<_> = all.filter(|(_, sums)| sums.histogram.total() > 0).collect();
    out.map(all.len());
    for (name, sums) in all {
        out.bulk(name.full_name().as_bytes());
        out.map(2);
        out.bulk(b"calls");
        out.unsigned(sums.histogram.total());
        out.bulk(b"histogram_usec");
        out.map(sums.histogram.cumulative().count());
        for (nanoseconds, calls) in sums.histogram.cumulative() {
            out.unsigned(nanoseconds / 1000);
            out.unsigned(calls);
        }
    }
}
