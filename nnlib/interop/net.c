
/* y = (x - offset) * factor * W + b; W holds the weights of one input after the other, offset and
   factor a number for each channel. */
static void linear(const float *x, const float *offset, const float *factor, int channels,
                   int inputs, const float *W, const float *b, int outputs, float *restrict y)
{
    for (int j = 0; j < outputs; j++)
        y[j] = b[j];
    for (int i = 0; i < inputs; i++, W += outputs) {
        const float scaled = (x[i] - offset[i % channels]) * factor[i % channels];
        for (int j = 0; j < outputs; j++)
            y[j] += scaled * W[j];
    }
}

/* z[k] = exp(z[k]) / the sum of all exp(z); the largest z is taken off first. */
static void softmax(float *z, int classes)
{
    float most = z[0], sum = 0.0f;
    for (int k = 1; k < classes; k++)
        most = z[k] > most ? z[k] : most;
    for (int k = 0; k < classes; k++) {
        z[k] = expf(z[k] - most);
        sum += z[k];
    }
    for (int k = 0; k < classes; k++)
        z[k] /= sum;
}
