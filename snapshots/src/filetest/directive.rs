//! Reading the directives of a file.

use lutweave::executor::Kind;
use lutweave::options::{Choices, Options};

/// How a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Exactly so many.
    Equal,
    /// So many at most.
    AtMost,
    /// So many at least.
    AtLeast,
}

/// A figure of the circuit and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `cycles`, `multipliers`, `lut`, `ff`, `dsp` or `bram`.
    pub figure: String,
    /// How it is compared.
    pub relation: Relation,
    /// With what.
    pub value: u64,
}

/// A file's directives, and its text.
#[derive(Clone, Debug, Default)]
pub struct FileTest {
    /// The whole file.
    pub text: String,
    /// Executors that must agree.
    pub executors: Vec<Kind>,
    /// The pass after which the graph is compared with [`FileTest::expected`].
    pub pass: Option<String>,
    /// Options of the compiler.
    pub options: Options,
    /// Elements of inputs, by name.
    pub inputs: Vec<(String, Vec<f64>)>,
    /// Elements of outputs, by name.
    pub expects: Vec<(String, Vec<f64>)>,
    /// Random samples and their seed.
    pub random: Option<(u64, u64)>,
    /// Figures of the circuit.
    pub checks: Vec<Check>,
    /// Code of the diagnostic that must refuse the file.
    pub error: Option<String>,
    /// Text that a pass must give.
    pub expected: String,
}

impl FileTest {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The line that is no directive though its first word says so.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut test = Self { text: text.to_owned(), ..Self::default() };
        for (number, line) in text.lines().enumerate() {
            if let Some(expected) = line.strip_prefix("#>") {
                test.expected += expected.strip_prefix(' ').unwrap_or(expected);
                test.expected.push('\n');
            } else if let Some(directive) = line.strip_prefix("# ") {
                test.directive(directive).map_err(|error| format!("line {}: {error}", number + 1))?;
            }
        }
        if test.executors.is_empty() && test.pass.is_none() && test.error.is_none() {
            return Err("it tests nothing: add `# test ..` or `# error ..`".to_owned());
        }
        Ok(test)
    }

    fn directive(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "test" => match rest.strip_prefix("pass ") {
                Some(pass) => self.pass = Some(pass.trim().to_owned()),
                None => {
                    for name in rest.split(',').map(str::trim) {
                        let name = if name == "interpret" { "interpreter" } else { name };
                        let kind = Kind::named(name).ok_or_else(|| format!("there is no executor `{name}`"))?;
                        self.executors.push(kind);
                    }
                }
            },
            "options" => self.options = serde_json::from_str(rest).map_err(|error| error.to_string())?,
            "input" => self.inputs.push(elements(rest)?),
            "expect" => self.expects.push(elements(rest)?),
            "random" => {
                let (count, seed) = rest.split_once(" seed=").unwrap_or((rest, "1"));
                let number = |text: &str| text.trim().parse().map_err(|_| format!("`{text}` is no number"));
                self.random = Some((number(count)?, number(seed)?));
            }
            "check" => {
                for check in rest.split(',') {
                    self.checks.push(parse_check(check.trim())?);
                }
            }
            "error" => self.error = Some(rest.trim().to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// The file with another expected text.
    pub fn blessed(&self, expected: &str) -> String {
        let kept = self.text.lines().filter(|line| !line.starts_with("#>"));
        let lines = expected.lines().map(|line| format!("#> {line}").trim_end().to_owned());
        kept.map(str::to_owned).chain(lines).collect::<Vec<_>>().join("\n") + "\n"
    }
}

/// `name = [1, 2]`.
fn elements(text: &str) -> Result<(String, Vec<f64>), String> {
    let (name, list) = text.split_once('=').ok_or("`name = [..]` is wanted")?;
    let list = list.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']')).ok_or("a list is wanted")?;
    let numbers = list.split(',').map(str::trim).filter(|number| !number.is_empty());
    let numbers = numbers.map(|number| number.parse().map_err(|_| format!("`{number}` is no number")));
    Ok((name.trim().to_owned(), numbers.collect::<Result<_, String>>()?))
}

fn parse_check(text: &str) -> Result<Check, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [figure, relation, value] = words[..] else { return Err(format!("`{text}` is not `figure <= number`")) };
    let relation = match relation {
        "=" => Relation::Equal,
        "<=" => Relation::AtMost,
        ">=" => Relation::AtLeast,
        other => return Err(format!("`{other}` compares nothing")),
    };
    let value = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    Ok(Check { figure: figure.to_owned(), relation, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_and_mistakes_told() {
        let text = "# test interpret, wasm\n# A comment.\n# input x = [1, -2]\n# random 3 seed=9\n# check dsp <= 2, cycles = 7\ngraph \"g\"\n#> a\n#>\n#> b\n";
        let test = FileTest::parse(text).unwrap();
        assert_eq!(test.executors, [Kind::Interpreter, Kind::Wasm]);
        assert_eq!(test.inputs, [("x".to_owned(), vec![1.0, -2.0])]);
        assert_eq!(test.random, Some((3, 9)));
        assert_eq!(test.checks.len(), 2);
        assert_eq!(test.expected, "a\n\nb\n");
        assert_eq!(test.blessed(&test.expected), text);
        for wrong in [
            "",
            "# test nothing",
            "# test wasm\n# input x [1]",
            "# test wasm\n# check dsp < 2",
            "# test wasm\n# options {\"wieghts\": 4}",
        ] {
            assert!(FileTest::parse(wrong).is_err(), "{wrong}");
        }
    }
}
