//! From tokens to a tree, with every function and variable known.

use std::collections::BTreeMap;

use super::{
    DEPTH, PREDEFINED, functions,
    lex::{self, Piece, Token},
    value::Value,
};

/// A template and those that it defines.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) root: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Call(String, Option<Pipe>),
    Break,
    Continue,
}

/// `$x := a | b`.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) names: Vec<String>,
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Expr>>,
}

#[derive(Clone, Debug)]
pub(super) enum Expr {
    Dot,
    Variable(String),
    Function(String),
    Const(Value),
    Paren(Box<Pipe>),
    /// Fields of something.
    Chain(Box<Expr>, Vec<String>),
}

/// How a list of nodes ended.
#[derive(Clone, Debug, PartialEq)]
enum Stop {
    Text,
    End,
    /// `else`, and what followed it: `if …` or `with …`.
    Else(Option<(String, Vec<Token>)>),
}

struct Parser<'t> {
    pieces: std::vec::IntoIter<Piece<'t>>,
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
    loops: usize,
    depth: usize,
}

pub(super) fn tree(text: &str) -> Result<Tree, String> {
    let mut variables = vec!["$".to_owned()];
    variables.extend(PREDEFINED.map(str::to_owned));
    let pieces = lex::pieces(text)?.into_iter();
    let mut parser = Parser { pieces, variables, defined: BTreeMap::new(), loops: 0, depth: 0 };
    let (root, stop) = parser.list()?;
    match stop {
        Stop::Text => Ok(Tree { root, defined: parser.defined }),
        Stop::End => Err("unexpected {{end}}".to_owned()),
        Stop::Else(_) => Err("unexpected {{else}}".to_owned()),
    }
}

impl Parser<'_> {
    fn list(&mut self) -> Result<(Vec<Node>, Stop), String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("actions are nested deeper than {DEPTH}"));
        }
        let mut nodes = Vec::new();
        let stop = loop {
            let Some(piece) = self.pieces.next() else { break Stop::Text };
            match piece {
                Piece::Text(text) => nodes.push(Node::Text(text.to_owned())),
                Piece::Action(action) => match self.action(lex::tokens(action)?)? {
                    Ok(node) => nodes.extend(node),
                    Err(stop) => break stop,
                },
            }
        };
        self.depth -= 1;
        Ok((nodes, stop))
    }

    /// A node, none (a definition), or the end of the list.
    fn action(&mut self, tokens: Vec<Token>) -> Result<Result<Option<Node>, Stop>, String> {
        let word = match tokens.first() {
            None => return Err("missing value for command".to_owned()),
            Some(Token::Word(word)) => word.clone(),
            Some(_) => String::new(),
        };
        let rest = || tokens[1..].to_vec();
        let node = match word.as_str() {
            "end" if tokens.len() == 1 => return Ok(Err(Stop::End)),
            "else" => {
                let next = match tokens.get(1) {
                    None => None,
                    Some(Token::Word(next)) if next == "if" || next == "with" => {
                        Some((next.clone(), tokens[2..].to_vec()))
                    }
                    Some(_) => return Err("unexpected text behind else".to_owned()),
                };
                return Ok(Err(Stop::Else(next)));
            }
            "if" | "with" | "range" => self.block(&word, rest())?,
            "define" => {
                self.define(&rest())?;
                return Ok(Ok(None));
            }
            "block" => {
                let (name, pipe) = self.called(rest())?;
                self.body(&name)?;
                Node::Call(name, pipe)
            }
            "template" => {
                let (name, pipe) = self.called(rest())?;
                Node::Call(name, pipe)
            }
            "break" | "continue" if self.loops == 0 => return Err(format!("{{{{{word}}}}} outside {{{{range}}}}")),
            "break" => Node::Break,
            "continue" => Node::Continue,
            _ => Node::Action(self.pipe(tokens)?),
        };
        Ok(Ok(Some(node)))
    }

    fn block(&mut self, word: &str, tokens: Vec<Token>) -> Result<Node, String> {
        let scope = self.variables.len();
        let pipe = self.pipe(tokens).map_err(|error| format!("{word}: {error}"))?;
        self.loops += usize::from(word == "range");
        let (body, stop) = self.list()?;
        self.loops -= usize::from(word == "range");
        let other = match stop {
            Stop::Text => return Err(format!("unexpected end of the template in {{{{{word}}}}}")),
            Stop::End => Vec::new(),
            // The end of what follows is the end of this as well.
            Stop::Else(Some((next, tokens))) if word != "range" => vec![self.block(&next, tokens)?],
            Stop::Else(Some(_)) => return Err("{{range}} has no else with a condition".to_owned()),
            Stop::Else(None) => {
                let (other, stop) = self.list()?;
                if stop != Stop::End {
                    return Err(format!("expected {{{{end}}}} behind the else of {{{{{word}}}}}"));
                }
                other
            }
        };
        self.variables.truncate(scope);
        Ok(match word {
            "if" => Node::If(pipe, body, other),
            "with" => Node::With(pipe, body, other),
            _ => Node::Range(pipe, body, other),
        })
    }

    fn define(&mut self, tokens: &[Token]) -> Result<(), String> {
        let [Token::Text(name)] = tokens else { return Err("define takes a name in quotes".to_owned()) };
        self.body(name)
    }

    /// The template that follows, up to its end, which sees only `$`.
    fn body(&mut self, name: &str) -> Result<(), String> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (nodes, stop) = self.list()?;
        self.variables = outer;
        if stop != Stop::End {
            return Err(format!("the template {name:?} has no {{{{end}}}}"));
        }
        self.defined.insert(name.to_owned(), nodes);
        Ok(())
    }

    fn called(&mut self, mut tokens: Vec<Token>) -> Result<(String, Option<Pipe>), String> {
        let Some(Token::Text(name)) = tokens.first().cloned() else {
            return Err("template takes a name in quotes".to_owned());
        };
        tokens.remove(0);
        let pipe = if tokens.is_empty() { None } else { Some(self.pipe(tokens)?) };
        Ok((name, pipe))
    }

    fn pipe(&mut self, tokens: Vec<Token>) -> Result<Pipe, String> {
        let mut names = Vec::new();
        let mut at = 0;
        let mut declares = false;
        while let Some(Token::Variable(name)) = tokens.get(at) {
            match tokens.get(at + 1) {
                Some(Token::Comma) if names.is_empty() => {
                    names.push(name.clone());
                    at += 2;
                }
                Some(token @ (Token::Declare | Token::Assign)) => {
                    declares = *token == Token::Declare;
                    names.push(name.clone());
                    at += 2;
                    break;
                }
                _ => break,
            }
        }
        let mut rest = &tokens[at..];
        let commands = self.commands(&mut rest)?;
        if !rest.is_empty() {
            return Err("unexpected right paren".to_owned());
        }
        if declares {
            self.variables.extend(names.iter().cloned());
        } else if let Some(unknown) = names.iter().find(|name| !self.variables.contains(name)) {
            return Err(format!("undefined variable {unknown:?}"));
        }
        Ok(Pipe { names, declares, commands })
    }

    /// Commands between pipes, up to a closing parenthesis that is left.
    fn commands(&mut self, rest: &mut &[Token]) -> Result<Vec<Vec<Expr>>, String> {
        let mut commands = vec![Vec::new()];
        while let Some((first, more)) = rest.split_first() {
            let place = commands.len() - 1;
            match first {
                Token::Close => break,
                Token::Pipe => {
                    if commands[place].is_empty() {
                        return Err("missing value for command".to_owned());
                    }
                    commands.push(Vec::new());
                    *rest = more;
                }
                _ => {
                    let operand = self.operand(rest)?;
                    commands[place].push(operand);
                }
            }
        }
        if commands.last().is_none_or(Vec::is_empty) {
            return Err("missing value for command".to_owned());
        }
        Ok(commands)
    }

    fn operand(&mut self, rest: &mut &[Token]) -> Result<Expr, String> {
        let Some((first, more)) = rest.split_first() else { return Err("missing value".to_owned()) };
        *rest = more;
        let base = match first {
            Token::Dot => Expr::Dot,
            Token::Field(name, _) => Expr::Chain(Box::new(Expr::Dot), vec![name.clone()]),
            Token::Variable(name) if self.variables.contains(name) => Expr::Variable(name.clone()),
            Token::Variable(name) => return Err(format!("undefined variable {name:?}")),
            Token::Word(word) => match word.as_str() {
                "true" => Expr::Const(Value::Bool(true)),
                "false" => Expr::Const(Value::Bool(false)),
                "nil" => Expr::Const(Value::Nil),
                _ if functions::is_known(word) => Expr::Function(word.clone()),
                _ => return Err(format!("function {word:?} not defined")),
            },
            Token::Text(text) => Expr::Const(Value::Text(text.clone())),
            Token::Int(value) => Expr::Const(Value::Int(*value)),
            Token::Float(value) => Expr::Const(Value::Float(*value)),
            Token::Open => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(format!("parentheses are nested deeper than {DEPTH}"));
                }
                let commands = self.commands(rest)?;
                self.depth -= 1;
                let Some((Token::Close, more)) = rest.split_first() else { return Err("unclosed left paren".into()) };
                *rest = more;
                Expr::Paren(Box::new(Pipe { names: Vec::new(), declares: false, commands }))
            }
            other => return Err(format!("unexpected {other:?} in operand")),
        };
        let mut fields = Vec::new();
        while let Some((Token::Field(name, true), more)) = rest.split_first() {
            fields.push(name.clone());
            *rest = more;
        }
        Ok(match (base, fields.is_empty()) {
            (base, true) => base,
            (Expr::Chain(base, mut first), false) => {
                first.append(&mut fields);
                Expr::Chain(base, first)
            }
            (base, false) => Expr::Chain(Box::new(base), fields),
        })
    }
}
