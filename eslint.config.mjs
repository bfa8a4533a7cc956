// For those who change the page's scripts: `npx eslint nnlib/widgets`. Nothing else needs npm.

export default [{
  files: ["nnlib/widgets/**/*.js"],
  rules: {
    "eqeqeq": "error",
    "no-eval": "error",
    "no-implied-eval": "error",
    "no-shadow": "error",
    "no-unused-vars": "error",
    "no-var": "error",
    "prefer-const": "error",
  },
}];
