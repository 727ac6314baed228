//! The pieces of a line.

use crate::graph::NodeId;
use crate::op::attributes::{Value, number, numbers};
use crate::quant::Quantization;
use crate::tensor::TensorType;
use std::str::FromStr;

/// What is left of a line.
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub fn new(line: &'a str) -> Self {
        Self { rest: line.trim() }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes a punctuation mark if it is next.
    pub fn take(&mut self, mark: &str) -> bool {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    pub fn expect(&mut self, mark: &str) -> Result<(), String> {
        if self.take(mark) { Ok(()) } else { Err(format!("`{mark}` expected{}", self.place())) }
    }

    pub fn end(&self) -> Result<(), String> {
        if self.is_empty() { Ok(()) } else { Err(format!("end of line expected{}", self.place())) }
    }

    fn place(&self) -> String {
        let next: String = self.rest.chars().take(12).collect();
        if next.is_empty() { " at the end of the line".to_owned() } else { format!(" before `{next}`") }
    }

    /// A run of letters, digits, signs, points and underscores.
    pub fn word(&mut self) -> Result<&'a str, String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(format!("a name or number expected{}", self.place()));
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        Ok(word)
    }

    pub fn number<T: FromStr>(&mut self) -> Result<T, String> {
        number(self.word()?)
    }

    pub fn id(&mut self) -> Result<NodeId, String> {
        self.expect("%")?;
        Ok(NodeId(self.number()?))
    }

    /// Ids separated by commas.
    pub fn ids(&mut self) -> Result<Vec<NodeId>, String> {
        let mut ids = Vec::new();
        if self.rest.starts_with('%') {
            ids.push(self.id()?);
            while self.take(",") {
                ids.push(self.id()?);
            }
        }
        Ok(ids)
    }

    /// A string in quotes.
    pub fn quoted(&mut self) -> Result<String, String> {
        self.expect_tight("\"")?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = self.rest[at + 1..].trim_start();
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, mark @ ('"' | '\\'))) => text.push(mark),
                    Some((_, 'u')) => {
                        let code: String = characters
                            .by_ref()
                            .map(|(_, c)| c)
                            .skip_while(|&c| c == '{')
                            .take_while(|&c| c != '}')
                            .collect();
                        let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                        text.push(code.ok_or("an escape names no character")?);
                    }
                    _ => return Err("unknown escape in a string".to_owned()),
                },
                other => text.push(other),
            }
        }
        Err("a string has no end".to_owned())
    }

    /// Takes a mark without the space after it.
    fn expect_tight(&mut self, mark: &str) -> Result<(), String> {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(format!("`{mark}` expected{}", self.place())),
        }
    }

    /// Words in brackets, separated by commas.
    pub fn list(&mut self) -> Result<Vec<&'a str>, String> {
        self.expect("[")?;
        let mut words = Vec::new();
        if self.take("]") {
            return Ok(words);
        }
        loop {
            words.push(self.word()?);
            if self.take("]") {
                return Ok(words);
            }
            self.expect(",")?;
        }
    }

    pub fn value(&mut self) -> Result<Value<'a>, String> {
        if self.rest.starts_with('[') { self.list().map(Value::List) } else { self.word().map(Value::Word) }
    }

    /// A type, such as `i8[1,2,3]@(0.5,-3)`.
    pub fn ty(&mut self) -> Result<TensorType, String> {
        let element = self.word()?.parse()?;
        let shape = numbers(&self.list()?)?;
        let quantization = if self.take("@") {
            self.expect("(")?;
            let scale = self.number()?;
            self.expect(",")?;
            let zero_point = self.number()?;
            self.expect(")")?;
            Some(Quantization { scale, zero_point })
        } else {
            None
        };
        Ok(TensorType { shape, element, quantization })
    }
}
