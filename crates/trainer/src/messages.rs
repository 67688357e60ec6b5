//! Warnings and diagnostics of the libraries, on stderr.

use std::fmt;
use std::io::IsTerminal as _;

use clap::ArgMatches;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Prints events as `warning: …` lines: warnings by default, more with `-v`, errors only with
/// `-q`. The variable `RUST_LOG` has precedence.
pub(crate) fn install(matches: &ArgMatches) {
    let given = |name: &str| {
        let command = matches.subcommand().map_or(matches, |(_, command)| command);
        command.try_get_one::<bool>(name).ok().flatten() == Some(&true)
    };
    let level = match (given("quiet"), matches.get_count("verbose")) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Line {
            terminal: std::io::stderr().is_terminal(),
        })
        .init();
}

/// One line per event.
struct Line {
    terminal: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.terminal {
            // Over a progress bar, which is drawn again.
            write!(writer, "\r\u{1b}[2K")?;
        }
        let level = *event.metadata().level();
        writer.write_str(match level {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "note: ",
            _ => "debug: ",
        })?;
        if level > Level::INFO {
            write!(writer, "{}: ", event.metadata().target())?;
        }
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        writeln!(writer, "{}", data::message(&text))
    }
}
