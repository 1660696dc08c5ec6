//! Tables as Markdown, so that they can be kept, and with columns that a terminal shows as such.

use std::fmt::Write as _;

/// The first row is the head.
pub fn markdown(grid: &[Vec<String>]) -> String {
    let columns = grid.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = grid.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, row) in grid.iter().enumerate() {
        for (word, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {word:<width$} ");
        }
        text.push_str("|\n");
        if at == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The grid, and below it what failed, a line each.
pub fn with_failures(grid: &[Vec<String>], failures: impl Iterator<Item = String>) -> String {
    let mut text = markdown(grid);
    let failures: String = failures.map(|why| format!("- {}\n", why.replace(['\n', '|'], " "))).collect();
    if !failures.is_empty() {
        text.push('\n');
        text.push_str(&failures);
    }
    text
}

/// Into the file that the variable names, else to whoever reads the test.
pub fn publish(variable: &str, table: &str) {
    match std::env::var_os(variable) {
        Some(path) => std::fs::write(path, table).expect("the table"),
        None => println!("{table}"),
    }
}

/// What a panic said.
pub fn why(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let grid = [["a", "bc"], ["def", "g"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(super::markdown(&grid), "| a   | bc |\n|-----|----|\n| def | g  |\n");
    }
}
