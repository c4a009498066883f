# The figures of glmnet.csv: R 4.2.2, glmnet 4.1-6. Run: Rscript glmnet.R
# Rows are dealt to folds by their number; columns have different sizes; numbers are exact in binary.
library(glmnet)
glmnet.control(fdev = 0, devmax = 1)
n <- 60
p <- 6
i <- 0:(n - 1)
x <- sapply(0:(p - 1), function(j) ((i * (2 * j + 3) + j * j * 5) %% 17 - 8) * 2^(j - 2) / 4)
y <- 0.5 * x[, 1] * 4 - x[, 3] + 0.25 * x[, 5] + ((i * 7) %% 11 - 5) / 4
w <- 1 + (i %% 4) / 2
fold <- i %% 5 + 1
out <- data.frame()
add <- function(case, name, values) {
  out <<- rbind(out, data.frame(case = case, name = name, index = seq_along(values) - 1,
                                value = sprintf("%.17g", as.vector(values))))
}
for (case in c("lasso", "weighted", "raw", "net")) {
  weights <- if (case == "weighted") w else rep(1, n)
  alpha <- if (case == "net") 0.5 else 1
  whole <- glmnet(x, y, weights = weights, alpha = alpha, nlambda = 40, lambda.min.ratio = 0.001,
                  standardize = case != "raw", thresh = 1e-28, maxit = 1e7)
  # Given the penalties, each fold is fitted at these. If not, cv.glmnet interpolates between penalties of its own.
  fit <- cv.glmnet(x, y, weights = weights, foldid = fold, alpha = alpha, lambda = whole$lambda,
                   standardize = case != "raw", thresh = 1e-28, maxit = 1e7, grouped = TRUE)
  add(case, "lambda", fit$lambda)
  add(case, "cvm", fit$cvm)
  add(case, "cvsd", fit$cvsd)
  add(case, "choice", c(fit$lambda.min, fit$lambda.1se))
  for (k in c(10, 25, 40)) {
    add(case, paste0("coef", k - 1), c(fit$glmnet.fit$a0[k], as.vector(fit$glmnet.fit$beta[, k])))
  }
}
write.csv(out, "glmnet.csv", row.names = FALSE, quote = FALSE)
