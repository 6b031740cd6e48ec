# Plain instructions only, so that docker (with or without BuildKit), buildah and kaniko all build it.
FROM golang:1.26 AS build
WORKDIR /src
# The modules in a layer of their own: an edit of the code does not fetch them again.
COPY go.mod go.sum ./
RUN go mod download
COPY cmd ./cmd
COPY internal ./internal
ARG VERSION=dev
# Set by `skaffold debug`, to turn off optimization; a debugger needs the symbols, too.
ARG SKAFFOLD_GO_GCFLAGS
RUN CGO_ENABLED=0 go build -trimpath -gcflags="${SKAFFOLD_GO_GCFLAGS}" \
    -ldflags="-s -w ${SKAFFOLD_GO_GCFLAGS:+-s=false -w=false} -X main.version=${VERSION}" \
    -o /out/server ./cmd/server

FROM gcr.io/distroless/static-debian13:nonroot
ARG VERSION=dev
LABEL org.opencontainers.image.title="leasehold" \
      org.opencontainers.image.description="A replicated key-value service with leader election, for Kubernetes" \
      org.opencontainers.image.source="https://github.com/leasehold/leasehold" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# The default, said aloud: `skaffold debug` recognizes a Go program by it.
ENV GOTRACEBACK=single
COPY --from=build /out/server /server
# A number, because runAsNonRoot cannot check a name.
USER 65532:65532
EXPOSE 8080 7070 2380
ENTRYPOINT ["/server"]
CMD ["serve"]
