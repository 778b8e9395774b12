//! A README taken apart: its code blocks, its tables' rows, its links.

pub(super) struct Block<'t> {
    pub(super) language: &'t str,
    /// Without the indent that it has in a list.
    pub(super) text: String,
}

pub(super) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut indent = None;
    for line in page.lines() {
        let plain = line.trim_start();
        match (indent, plain.strip_prefix("```")) {
            (None, Some(language)) => {
                indent = Some(line.len() - plain.len());
                let text = String::new();
                blocks.push(Block { language, text });
            }
            (Some(_), Some(_)) => indent = None,
            (Some(width), None) => {
                let block = blocks.last_mut().unwrap();
                block.text += line.get(width..).unwrap_or_default();
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(indent.is_none(), "a code block without an end");
    blocks
}

/// The lines of all blocks of shell commands.
pub(super) fn commands(page: &str) -> Vec<String> {
    let shell = blocks(page).into_iter().filter(|it| it.language == "sh");
    shell
        .flat_map(|it| it.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| !line.is_empty())
        .collect()
}

/// Of each row of a table: the code in its first cell, in order, and all the code in it, sorted.
pub(super) fn rows(page: &str) -> Vec<(Vec<&str>, Vec<&str>)> {
    let rows = page.lines().filter(|it| it.trim_start().starts_with('|'));
    rows.map(|row| {
        let first = row.trim().split(" | ").next().unwrap_or_default();
        let mut all = code(row);
        all.sort_unstable();
        (code(first), all)
    })
    .collect()
}

/// What stands between backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

pub(super) fn headings(page: &str) -> Vec<usize> {
    let mut in_block = false;
    let mut levels = Vec::new();
    for line in page.lines() {
        in_block ^= line.trim_start().starts_with("```");
        let level = line.bytes().take_while(|it| *it == b'#').count();
        if level > 0 && !in_block {
            levels.push(level);
        }
    }
    levels
}

/// The title of each section and the code in its lines, sorted.
pub(super) fn words(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut in_block = false;
    let mut sections = vec![("", Vec::new())];
    for line in page.lines() {
        in_block ^= line.trim_start().starts_with("```");
        match line.starts_with('#') {
            _ if in_block => {}
            true => sections.push((line, Vec::new())),
            false => sections.last_mut().unwrap().1.extend(code(line)),
        }
    }
    for (_, words) in &mut sections {
        words.sort_unstable();
    }
    sections
}

/// Where links lead, within the page as `#heading`.
pub(crate) fn links(page: &str) -> Vec<&str> {
    let ends = page.split("](").skip(1);
    ends.filter_map(|it| it.split(')').next()).collect()
}

/// As GitHub names a heading.
pub(super) fn anchors(page: &str) -> Vec<String> {
    let titles = page.lines().filter_map(|it| it.strip_prefix('#'));
    let kept = |it: char| it.is_alphanumeric() || it == '-' || it == ' ' || it == '_';
    titles
        .map(|it| {
            let title: String = it
                .trim_start_matches('#')
                .trim()
                .chars()
                .filter(|it| kept(*it))
                .collect();
            title.to_lowercase().replace(' ', "-")
        })
        .collect()
}
