# The figures of formulas.json: R 4.2.2. Run: Rscript formulas.R
# Each case holds the R line that made it, and the same formula for this package. Numbers of the table are exact in binary.
library(splines)
n <- 48
i <- 0:(n - 1)
d <- data.frame(
  a = ((i * 7) %% 48) / 4 + 1,
  b = ((i * 11 + i %/% 5) %% 13 - 6) / 2,
  k = i %% 3 + 2001,
  g = c("u", "v", "w")[(i * 5 + i %/% 7) %% 3 + 1],
  h = c("no", "yes")[(i %/% 3) %% 2 + 1],
  w = 1 + (i %% 4) / 2,
  stringsAsFactors = TRUE
)
d$y <- 20 + 2 * d$a + d$b * (d$h == "yes") + 3 * (d$g == "v") + ((i * 17) %% 23 - 11) / 8
new <- data.frame(a = c(1.25, 6.5, 12), b = c(-1, 0.5, 2), k = c(2003, 2001, 2002), g = c("w", "u", "v"),
                  h = c("yes", "no", "yes"), w = 1, stringsAsFactors = TRUE)
beyond <- transform(new, a = c(0.5, 13.5, 15))

quoted <- function(text) paste0('"', gsub('"', '\\\\"', text), '"')
number <- function(x) ifelse(is.na(x), "null", sprintf("%.17g", x))
array <- function(parts) paste0("[", paste(parts, collapse = ", "), "]")
object <- function(parts) paste0("{", paste0(quoted(names(parts)), ": ", parts, collapse = ", "), "}")
table <- function(data) {
  object(sapply(data, function(column) array(if (is.numeric(column)) number(column) else quoted(as.character(column)))))
}
cases <- character()
add <- function(line, ours, rows = "new") {
  fit <- eval(parse(text = line))
  s <- summary(fit)
  predictions <- suppressWarnings(predict(fit, get(rows), interval = "prediction", weights = 1))
  cases <<- c(cases, object(c(
    r = quoted(line), ours = quoted(ours), rows = quoted(rows),
    names = array(quoted(rownames(s$coefficients))), coefficients = array(number(s$coefficients[, 1])),
    errors = array(number(s$coefficients[, 2])), r_squared = number(s$r.squared),
    r_squared_adj = number(s$adj.r.squared), sigma = number(s$sigma), f = number(s$fstatistic[["value"]]),
    predictions = array(number(predictions[, "fit"])), lower = array(number(predictions[, "lwr"]))
  )))
}
add("lm(y ~ a * g, d)", "y ~ a * g")
add("lm(log(y) ~ a + I(a^2) + h, d)", "log(y) ~ a + I(a ** 2) + h")
add("lm(y ~ 0 + a + b, d)", "y ~ 0 + a + b")
add("lm(y ~ g - 1, d)", "y ~ g - 1")
add("lm(y ~ 0 + h + a, d, weights = w)", "y ~ 0 + h + a")
add("lm(y ~ a * h + b, d, weights = w)", "y ~ a * h + b")
add("lm(y ~ poly(a, 2) + h, d)", "y ~ poly(a, 2) + h")
add("lm(y ~ poly(a, 3):h, d)", "y ~ poly(a, 3):h")
add("lm(y ~ bs(a, df = 5), d)", "y ~ bs(a, df=5)")
add("lm(y ~ bs(a, df = 5), d)", "y ~ bs(a, df=5, extrapolate=True)", "beyond")
add("lm(y ~ bs(a, knots = c(4, 8), degree = 2) * h, d)", "y ~ bs(a, knots=[4, 8], degree=2) * h")
add("lm(y ~ g / a, d)", "y ~ g / a")
add("lm(y ~ g / h, d)", "y ~ g / h")
add("lm(y ~ C(g, contr.sum) * h, d)", "y ~ C(g, Sum) * h")
add("lm(y ~ a:C(g, contr.sum), d)", "y ~ a:C(g, Sum)")
add("lm(y ~ a:g, d)", "y ~ a:g")
add("lm(y ~ a + a:g, d)", "y ~ a + a:g")
add("lm(y ~ factor(k) * b, d)", "y ~ C(k) * b")
add("lm(y ~ (a + b + h)^2, d)", "y ~ (a + b + h) ^ 2")
add("lm(sqrt(y) ~ log(a) + exp(b / 10) + log1p(a) + abs(b) + log10(a + 2), d)",
    "sqrt(y) ~ log(a) + exp(b / 10) + log1p(a) + abs(b) + log10(a + 2)")
add("lm(y ~ . - w - k, d)", "y ~ . - w - k")
writeLines(paste0("{\n\"R\": ", quoted(R.version.string), ",\n\"d\": ", table(d), ",\n\"new\": ", table(new), ",\n\"beyond\": ",
                  table(beyond), ",\n\"cases\": [\n", paste(cases, collapse = ",\n"), "\n]}"), "formulas.json")
