//! Runs blocks: two cases at once, a journal, progress, a table.

use std::cell::RefCell;
use std::fs;
use std::io::IsTerminal as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clips::Interrupt;
use indicatif::{ProgressBar, ProgressStyle};

use crate::blocks::BLOCKS;
use crate::journal::{End, Head, Journal, Ran};
use crate::table::{Row, table};
use crate::{Block, Cases, Context, Random, Settings};

/// Cases that run at once.
const WORKERS: usize = 2;

thread_local! {
    /// The message of the last panic of this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the message of a panic for [`last_panic`] instead of printing it.
pub(crate) fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.with_borrow_mut(|message| *message = info.to_string());
    }));
}

/// The message of this thread's last panic.
pub(crate) fn last_panic() -> String {
    PANIC.with_borrow(Clone::clone)
}

/// Runs the blocks asked for and prints the table; whether every case kept its promise.
///
/// # Errors
/// A block is unknown, its inputs cannot be made, or the journal cannot be written.
pub fn run(settings: &Settings) -> Result<bool> {
    let blocks = chosen(settings)?;
    let stop = Interrupt::default();
    let asked = stop.clone();
    ctrlc::set_handler(move || {
        if asked.ask() {
            std::process::exit(130);
        }
        eprintln!("stopping after the cases that run; again to stop at once");
    })?;
    keep_panics();
    let build = build(settings)?;
    let planned: u64 = blocks.iter().map(|block| block.seconds).sum();
    let mut rows = Vec::new();
    for block in blocks {
        let began = Instant::now();
        // The soak takes as long as it is told.
        let minutes = settings.minutes.filter(|_| block.seconds > 0);
        let limit = minutes.map(|minutes| {
            Duration::from_secs_f64(60.0 * minutes * block.seconds as f64 / planned.max(1) as f64)
        });
        let place = settings.folder.join(settings.seed.to_string());
        let mut journal = match settings.share || settings.case.is_some() {
            true => Journal::none(),
            false => {
                let head = Head {
                    build: build.clone(),
                    seed: settings.seed,
                    block: block.name.into(),
                };
                Journal::open(&place.join(format!("{}.jsonl", block.name)), &head)?
            }
        };
        // Seconds of cases that ran before count, so that a campaign in parts adds up.
        let before = journal.ran.values().map(|ran| ran.seconds).sum::<f64>() / WORKERS as f64;
        if !stop.asked() {
            let context = Context {
                root: settings.root.clone(),
                trainer: settings.trainer.clone(),
                xtask: settings.xtask.clone(),
                folder: place.join(format!("{}-{}", block.name, std::process::id())),
                seed: settings.seed,
                soak: settings.soak,
                stop: stop.clone(),
            };
            fs::create_dir_all(&context.folder)?;
            let ran = prepare_and_run(block, &context, settings, &mut journal, limit);
            // A scratch folder that stays only takes room.
            remove(&context.folder);
            ran.with_context(|| block.name.to_owned())?;
        }
        rows.push(Row::of(
            block,
            &journal,
            before + began.elapsed().as_secs_f64(),
        ));
    }
    println!("{}", table(&rows, settings.seed));
    Ok(rows.iter().all(Row::is_clean) && !stop.asked())
}

fn chosen(settings: &Settings) -> Result<Vec<&'static Block>> {
    if settings.case.is_some() && settings.blocks.len() != 1 {
        bail!("--case needs one block");
    }
    let mut blocks = Vec::new();
    for name in &settings.blocks {
        let is_named = |block: &&Block| block.name == name || block.number.to_string() == *name;
        let named: Vec<_> = BLOCKS.iter().filter(is_named).collect();
        if named.is_empty() {
            let known: Vec<_> = BLOCKS.iter().map(|block| block.name).collect();
            bail!("unknown block {name}; there are {}", known.join(", "));
        }
        blocks.extend(named);
    }
    if blocks.is_empty() {
        blocks.extend(BLOCKS.iter().filter(|block| block.name != "soak"));
    }
    let soak = BLOCKS.iter().find(|block| block.name == "soak");
    if settings.soak.is_some() && blocks.iter().all(|block| block.name != "soak") {
        blocks.extend(soak);
    }
    Ok(blocks)
}

/// Makes the inputs of a block and runs those of its cases that the journal lacks.
fn prepare_and_run(
    block: &Block,
    context: &Context,
    settings: &Settings,
    journal: &mut Journal,
    limit: Option<Duration>,
) -> Result<()> {
    let cases = (block.prepare)(context)?;
    let all = match (settings.cases, settings.share) {
        (Some(cases), _) => cases,
        (None, true) => block.share,
        (None, false) => cases.all().unwrap_or(block.cases),
    };
    let left: Vec<u64> = match settings.case {
        Some(case) => vec![case],
        None => (0..all)
            .filter(|case| !journal.ran.contains_key(case))
            .collect(),
    };
    run_block(
        block,
        &*cases,
        context,
        &left,
        journal,
        limit,
        settings.first,
    )
}

/// A hash over the programs.
fn build(settings: &Settings) -> Result<String> {
    let own = std::env::current_exe()?;
    let mut all = String::new();
    for program in [&own, &settings.trainer, &settings.xtask] {
        let bytes = fs::read(program).with_context(|| program.display().to_string())?;
        all += &disk::sha256(bytes);
    }
    Ok(disk::sha256(all))
}

fn run_block(
    block: &Block,
    cases: &dyn Cases,
    context: &Context,
    left: &[u64],
    journal: &mut Journal,
    limit: Option<Duration>,
    first: bool,
) -> Result<()> {
    let progress = Progress::new(block, left.len() as u64);
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let journal = Mutex::new((journal, Ok(())));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let is_late = || limit.is_some_and(|limit| began.elapsed() >= limit);
                let is_over = || first && failed.load(Ordering::SeqCst);
                while !context.stop.asked() && !is_late() && !is_over() {
                    let place = next.fetch_add(1, Ordering::SeqCst) as usize;
                    let Some(case) = left.get(place).copied() else {
                        break;
                    };
                    let ran = run_case(block, cases, context, case);
                    // A case that the user's Ctrl-C reached has no verdict.
                    if context.stop.asked() && matches!(ran.end, End::Failed(_)) {
                        break;
                    }
                    failed.fetch_or(matches!(ran.end, End::Failed(_)), Ordering::SeqCst);
                    progress.step(&ran);
                    let mut journal = journal.lock().unwrap();
                    let added = journal.0.add(ran);
                    if added.is_err() {
                        journal.1 = added;
                        break;
                    }
                }
            });
        }
    });
    progress.close();
    journal.into_inner().unwrap().1
}

fn run_case(block: &Block, cases: &dyn Cases, context: &Context, case: u64) -> Ran {
    let began = Instant::now();
    let folder = context.folder.join(format!("case-{case}"));
    let mut random = Random::new(context.seed, &[block.name, &case.to_string()]);
    let outcome = fs::create_dir(&folder)
        .map_err(|error| format!("no folder for the case: {error}"))
        .and_then(|()| {
            let run = || cases.run(case, &mut random, &folder);
            catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|_| Err(format!("panicked: {}", last_panic())))
        });
    remove(&folder);
    Ran {
        case,
        end: End::from(outcome),
        seconds: began.elapsed().as_secs_f64(),
    }
}

/// Removes a case's folder, whatever its modes.
fn remove(folder: &Path) {
    if fs::remove_dir_all(folder).is_err() {
        let mut command = std::process::Command::new("chmod");
        let _ = command.args(["-R", "u+rwX"]).arg(folder).output();
        let _ = fs::remove_dir_all(folder);
    }
}

/// One line on stderr, or plain lines where that is not a terminal.
struct Progress {
    bar: ProgressBar,
    name: &'static str,
    total: u64,
    /// The time of the last plain line, cases and failures.
    plain: Option<Mutex<(Instant, u64, u64)>>,
}

impl Progress {
    fn new(block: &Block, total: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = match is_terminal {
            true => ProgressBar::new(total),
            false => ProgressBar::hidden(),
        };
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:12} {bar:20} {pos}/{len} {eta} left {msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(block.name);
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            bar,
            name: block.name,
            total,
            plain: (!is_terminal).then(|| Mutex::new((Instant::now(), 0, 0))),
        }
    }

    fn step(&self, ran: &Ran) {
        if let End::Failed(words) = &ran.end {
            let first = words.lines().next().unwrap_or_default();
            let line = format!("{} {}: {first}", self.name, ran.case);
            match self.plain {
                Some(_) => eprintln!("{line}"),
                None => self.bar.println(line),
            }
        }
        self.bar.inc(1);
        if let Some(plain) = &self.plain {
            let mut state = plain.lock().unwrap();
            state.1 += 1;
            state.2 += u64::from(matches!(ran.end, End::Failed(_)));
            if state.0.elapsed() >= Duration::from_secs(10) || state.1 == self.total {
                state.0 = Instant::now();
                eprintln!(
                    "{} {}/{}, {} failures",
                    self.name, state.1, self.total, state.2
                );
            }
        }
    }

    fn close(&self) {
        self.bar.finish_and_clear();
    }
}
