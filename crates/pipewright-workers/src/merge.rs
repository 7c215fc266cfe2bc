//! Makes the output of the whole out of those of the parts, in memory. Pure.

use memchr::{memchr, memrchr};

/// What is wrong with an output that should be numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an output that should be numbers is {0:?}")]
pub(crate) struct NoNumbers(String);

/// Adds up the columns of outputs such as `wc` gives, in its layout: one number as it is, several in
/// columns of 7.
pub(crate) fn add(outputs: &[Vec<u8>]) -> Result<Vec<u8>, NoNumbers> {
    let mut sums: Vec<u64> = Vec::new();
    for output in outputs {
        let numbers = numbers(output)?;
        sums.resize(sums.len().max(numbers.len()), 0);
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = sum.checked_add(number).ok_or_else(|| no_numbers(output))?;
        }
    }
    let shown: Vec<String> = match sums.as_slice() {
        [sum] => vec![sum.to_string()],
        _ => sums.iter().map(|sum| format!("{sum:7}")).collect(),
    };
    Ok((shown.join(" ") + "\n").into_bytes())
}

/// Takes the largest of outputs that are one number each.
pub(crate) fn largest(outputs: &[Vec<u8>]) -> Result<Vec<u8>, NoNumbers> {
    let mut largest = 0;
    for output in outputs {
        match numbers(output)?.as_slice() {
            [number] => largest = largest.max(*number),
            _ => return Err(no_numbers(output)),
        }
    }
    Ok(format!("{largest}\n").into_bytes())
}

fn numbers(output: &[u8]) -> Result<Vec<u64>, NoNumbers> {
    let text = std::str::from_utf8(output).map_err(|_| no_numbers(output))?;
    let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    numbers
        .ok()
        .filter(|numbers| !numbers.is_empty())
        .ok_or_else(|| no_numbers(output))
}

fn no_numbers(output: &[u8]) -> NoNumbers {
    NoNumbers(String::from_utf8_lossy(&output[..output.len().min(80)]).into_owned())
}

/// Joins the outputs of `uniq -c`: where one ends with the line that the next begins with, the two
/// become one with their counts added.
#[derive(Debug, Default)]
pub(crate) struct Seams {
    /// The last line so far, which the next output may go on with: its count and its text.
    last: Option<(u64, Vec<u8>)>,
}

impl Seams {
    /// Takes the next output; the answer is what is certain now.
    pub(crate) fn join(&mut self, output: &[u8]) -> Result<Vec<u8>, NoNumbers> {
        let mut certain = Vec::new();
        if output.is_empty() {
            return Ok(certain);
        }
        let first_end = memchr(b'\n', output).map_or(output.len(), |at| at + 1);
        let (count, text) = counted(&output[..first_end])?;
        let first = match self.last.take() {
            Some((before, last)) if last == text => (before + count, text),
            Some(last) => {
                certain.extend(line(&last));
                (count, text)
            }
            None => (count, text),
        };
        if first_end == output.len() {
            self.last = Some(first);
            return Ok(certain);
        }
        certain.extend(line(&first));
        let body = output.strip_suffix(b"\n").unwrap_or(output);
        let last_start = memrchr(b'\n', body).map_or(0, |at| at + 1);
        certain.extend(&output[first_end..last_start]);
        self.last = Some(counted(&output[last_start..])?);
        Ok(certain)
    }

    /// Gives the last line.
    pub(crate) fn end(self) -> Vec<u8> {
        self.last.as_ref().map_or_else(Vec::new, line)
    }
}

fn line((count, text): &(u64, Vec<u8>)) -> Vec<u8> {
    [format!("{count:7} ").as_bytes(), text, b"\n"].concat()
}

/// Reads `   3 text`.
fn counted(line: &[u8]) -> Result<(u64, Vec<u8>), NoNumbers> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let digits = line
        .iter()
        .position(|byte| *byte != b' ')
        .unwrap_or(line.len());
    let end = digits + memchr(b' ', &line[digits..]).ok_or_else(|| no_numbers(line))?;
    let count = std::str::from_utf8(&line[digits..end])
        .ok()
        .and_then(|digits| digits.parse().ok());
    Ok((
        count.ok_or_else(|| no_numbers(line))?,
        line[end + 1..].to_vec(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_stands_alone_and_several_in_columns() {
        let outputs = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.as_bytes().to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(add(&outputs(&["3\n", "39\n"])).unwrap(), b"42\n");
        let sums = add(&outputs(&[
            "      1       2       3\n",
            "      9      10 9999999\n",
        ]))
        .unwrap();
        assert_eq!(
            String::from_utf8(sums).unwrap(),
            "     10      12 10000002\n"
        );
        assert_eq!(largest(&outputs(&["3\n", "7\n", "5\n"])).unwrap(), b"7\n");
        assert!(add(&outputs(&["3\n", "x\n"])).is_err());
        assert!(add(&outputs(&["18446744073709551615\n", "1\n"])).is_err());
    }

    #[test]
    fn counts_are_added_where_two_outputs_meet() {
        let mut seams = Seams::default();
        let mut all = Vec::new();
        for output in [
            "      1 a\n      2 b\n",
            "      3 b\n",
            "      1 b\n      4  x\n",
            "",
            "      1 c\n",
        ] {
            all.extend(seams.join(output.as_bytes()).unwrap());
        }
        all.extend(seams.end());
        assert_eq!(
            String::from_utf8(all).unwrap(),
            "      1 a\n      6 b\n      4  x\n      1 c\n"
        );
    }
}
