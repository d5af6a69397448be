//! What a run of the harness leaves behind, and one renderer per file.
//!
//! The records are the law: everything that reads results - people through [`text`], machines through [`json`], test
//! dashboards through [`junit`], a code host through [`github`] and [`markdown`] - reads them from here, and nothing is
//! measured or judged twice. This crate runs nothing, and knows neither the system nor the simulator.
//!
//! A [`record::RunRecord`] is one scenario with one seed; a [`suite::SuiteRecord`] is all of them, summed up and judged
//! by the rules of [`verdict`]; [`mod@merge`] makes one of several machines' parts. A [`report::RunReport`] is one run in full:
//! its plan, its latencies by stage, and its messages in [`causal`] order. A [`compare::Comparison`] sets two sides of records
//! beside each other. [`latency`] counts virtual time, which is no speed; [`time`] has its points. A [`load::LoadReport`] is of a
//! live system, in [`wall`] time, which nothing mixes with the other.

pub mod causal;
pub mod compare;
pub mod github;
pub mod hlog;
pub mod html;
pub mod json;
pub mod junit;
pub mod latency;
pub mod load;
pub mod load_text;
pub mod markdown;
pub mod merge;
pub mod record;
pub mod report;
pub mod run_markdown;
pub mod run_text;
pub mod samples;
pub mod suite;
pub mod text;
pub mod time;
pub mod verdict;
pub mod wall;
