//! The table of the heads: each row beside the better probe.

use std::fmt;

use trainer::metrics::Spread;

/// Top-1 in per cent of every row and column.
#[derive(Default)]
pub(super) struct HeadsTable {
    columns: Vec<String>,
    cells: Vec<Cell>,
}

struct Cell {
    row: String,
    column: String,
    probe: bool,
    /// One for each draw.
    top1: Vec<f64>,
}

impl HeadsTable {
    /// Adds the top-1 of each draw. A `probe` is a row that the others are compared with.
    pub(super) fn add(&mut self, row: &str, column: &str, probe: bool, top1: Vec<f64>) {
        if !self.columns.iter().any(|other| other == column) {
            self.columns.push(column.into());
        }
        self.cells.push(Cell {
            row: row.into(),
            column: column.into(),
            probe,
            top1,
        });
    }

    /// The probe with the highest mean in `column`.
    fn reference(&self, column: &str) -> Option<&Cell> {
        let probes = self
            .cells
            .iter()
            .filter(|cell| cell.probe && cell.column == column);
        probes.max_by(|a, b| mean(&a.top1).total_cmp(&mean(&b.top1)))
    }

    fn text(&self, row: &str, column: &str) -> String {
        let found = self
            .cells
            .iter()
            .find(|cell| cell.row == row && cell.column == column);
        let Some((cell, spread)) = found.and_then(|cell| Some((cell, Spread::new(&cell.top1)?)))
        else {
            return String::new();
        };
        let mut text = format!("{:.1}", spread.mean);
        if spread.count > 1 {
            text.push_str(&format!(" ±{:.1}", spread.half_interval));
        }
        let reference = self
            .reference(column)
            .filter(|reference| reference.row != row);
        let paired = reference.and_then(|reference| Spread::paired(&cell.top1, &reference.top1));
        if let Some(difference) = paired {
            // Not "−0.0".
            let sign = if difference.mean <= -0.05 { '−' } else { '+' };
            text.push_str(&format!(", {sign}{:.1}", difference.mean.abs()));
            if difference.count > 1 {
                text.push_str(&format!(" ±{:.1}", difference.half_interval));
            }
        }
        text
    }
}

fn mean(values: &[f64]) -> f64 {
    Spread::new(values).map_or(f64::NEG_INFINITY, |spread| spread.mean)
}

impl fmt::Display for HeadsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| row | {} |", self.columns.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(self.columns.len()))?;
        let mut rows: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !rows.contains(&cell.row.as_str()) {
                rows.push(&cell.row);
            }
        }
        for row in rows {
            let cells: Vec<String> = self
                .columns
                .iter()
                .map(|column| self.text(row, column))
                .collect();
            writeln!(f, "| {row} | {} |", cells.join(" | "))?;
        }
        writeln!(
            f,
            "\nTop-1 in per cent: mean and 95 % interval over the draws, then the paired difference \
             from the better probe:"
        )?;
        for column in &self.columns {
            if let Some(reference) = self.reference(column) {
                writeln!(f, "    {column}: {}", reference.row)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_with_the_better_probe_on_the_same_draws() {
        let mut table = HeadsTable::default();
        table.add("CLIP", "k = 2", false, vec![20.0]);
        table.add("probe", "k = 2", true, vec![50.0, 54.0]);
        table.add("probe, C by folds", "k = 2", true, vec![52.0, 55.0]);
        table.add("GDA", "k = 2", false, vec![51.0, 54.0]);
        let text = table.to_string();
        for line in [
            "| row | k = 2 |",
            "| CLIP | 20.0 |",
            "| probe | 52.0 ±25.4, −1.5 ±6.4 |",
            "| probe, C by folds | 53.5 ±19.1 |",
            "| GDA | 52.5 ±19.1, −1.0 ±0.0 |",
            "    k = 2: probe, C by folds",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
